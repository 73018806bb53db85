//! A Prometheus of the distribution, with data of its own, that scrapes once a second.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::python::any;
use crate::support::server::{Server, apps};
use crate::support::{eventually, kernel};
use crate::{Exporter, SCRAPED, ask, file, need, program};

/// Prometheus, while it runs. Dropping it kills it and removes its data.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(target: SocketAddr) -> Result<Prometheus, String> {
        let program = program("prometheus")?;
        let folder = tempfile::tempdir().unwrap();
        let rules = file("assets/prometheus/steth.rules.yml");
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: ['{}']\n\
             scrape_configs:\n  \
             - job_name: steth\n    \
             static_configs: [{{ targets: ['{target}'] }}]\n",
            rules.display()
        );
        let path = folder.path().join("prometheus.yml");
        std::fs::write(&path, config).unwrap();
        let address = format!("127.0.0.1:{}", kernel::free_port());
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(program)
            .arg(format!("--config.file={}", path.display()))
            .arg(format!(
                "--storage.tsdb.path={}/data",
                folder.path().display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Ok(Prometheus {
            child,
            address: address.parse().unwrap(),
            folder,
        })
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// What its HTTP API answers; `None` while it is not ready.
    fn api(&self, path: &str) -> Option<Value> {
        std::net::TcpStream::connect(self.address).ok()?;
        let (_, body) = ask(
            self.address,
            &format!("GET /api/v1/{path} HTTP/1.0\r\n\r\n"),
        );
        let document: Value = serde_json::from_str(&body).ok()?;
        (document["status"] == "success").then(|| document["data"].clone())
    }

    /// The values of all series that a query gives now.
    fn query(&self, query: &str) -> Vec<f64> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let data = self.api(&format!("query?query={escaped}"));
        let series = data.as_ref().and_then(|d| d["result"].as_array());
        let value = |one: &Value| one["value"][1].as_str()?.parse().ok();
        series.into_iter().flatten().filter_map(value).collect()
    }

    /// Waits until a query gives just this one value.
    #[track_caller]
    fn gives(&self, query: &str, value: f64) {
        let seen = eventually(SCRAPED, || self.query(query) == [value]);
        let all = self.query("{__name__=~\"steth_server_(phase|finding|restarts_total)\"} > 0");
        assert!(
            seen,
            "{query} is {:?}, not {value}; {all:?}\n{}",
            self.query(query),
            self.log()
        );
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_real_prometheus_sees_a_finding_and_a_restart() {
    need!(program("prometheus").map(|_| ()));
    let python = need!(any());
    let failing = Server::start(&python, &["bound_first.py", "{port}"]);
    let serve = ["-m", "http.server", "{port}", "--bind", "127.0.0.1"];
    let healthy = Server::start(&python, &serve);
    healthy.wait_listens();
    let exporter = Exporter::start("127.0.0.1:0");
    let prometheus = need!(Prometheus::start(exporter.address));

    prometheus.gives("up{job=\"steth\"}", 1.0);
    let on = |port: u16| format!("address=\"127.0.0.1:{port}\"");
    let finding = format!(
        "steth_server_finding{{{},code=\"bound-not-listening\"}}",
        on(failing.port)
    );
    prometheus.gives(&finding, 1.0);
    let phase = |port: u16, phase: &str| {
        format!(
            "steth_server_phase{{{},steth_server_phase=\"{phase}\"}}",
            on(port)
        )
    };
    prometheus.gives(&phase(failing.port, "bound"), 1.0);
    prometheus.gives(&phase(healthy.port, "serving"), 1.0);
    // It has asked for OpenMetrics and got it: the classic format has no state sets.
    let metadata = prometheus
        .api("metadata?metric=steth_server_phase")
        .unwrap();
    assert_eq!(
        metadata["steth_server_phase"][0]["type"], "stateset",
        "{metadata}"
    );

    let port = healthy.port;
    drop(healthy);
    prometheus.gives(&phase(port, "exited"), 1.0);
    prometheus.gives(&phase(port, "serving"), 0.0);
    let serve = serve.map(|word| word.replace("{port}", &port.to_string()));
    let serve: Vec<&str> = serve.iter().map(String::as_str).collect();
    let again = Server::start_in(&apps(), &python, &serve);
    again.wait_until("a listener", || {
        kernel::accept_queue(again.pid, port).is_some()
    });
    prometheus.gives(&phase(port, "serving"), 1.0);
    prometheus.gives(&phase(port, "exited"), 0.0);
    let restarts = format!("sum(steth_server_restarts_total{{{}}})", on(port));
    prometheus.gives(&restarts, 1.0);
    // The same series all the time, and one of it.
    let all = format!(
        "count(count_over_time(steth_server_start_time_seconds{{{}}}[1h]))",
        on(port)
    );
    prometheus.gives(&all, 1.0);
    prometheus.gives("up{job=\"steth\"}", 1.0);

    assert_rules_are_evaluated(&prometheus);
}

/// Every rule of the example file has been evaluated, without an error.
fn assert_rules_are_evaluated(prometheus: &Prometheus) {
    let health = || {
        let data = prometheus.api("rules").unwrap_or_default();
        let rules = data["groups"][0]["rules"].as_array().cloned();
        let rules = rules.unwrap_or_default();
        let word = |rule: &Value| rule["health"].as_str().unwrap_or_default().to_owned();
        rules.iter().map(word).collect::<Vec<String>>()
    };
    let all_are_well = || !health().is_empty() && health().iter().all(|word| word == "ok");
    assert!(
        eventually(SCRAPED, all_are_well),
        "{:?}\n{}",
        health(),
        prometheus.log()
    );
}
