//! What is answered to one request: three paths, two methods.

use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use hyper::{Method, Request, Response, StatusCode};

use super::Seen;
use crate::view::metrics::{self, accept};

/// A collector that has not come back for so long hangs. Looks that are dear are made less often, but not that seldom.
const STALE_S: f64 = 30.0;

const INDEX: &str = "steth: what keeps the Python servers of this machine from serving, as metrics

/metrics    for Prometheus: OpenMetrics, or the classic text format by the Accept header
/-/healthy  200 while it looks at the machine, 503 when the newest look is old
";

const PLAIN: &str = "text/plain; charset=utf-8";

/// The answer; whatever a request's body holds is not looked at.
pub(super) fn answer<B>(request: &Request<B>, seen: &Seen) -> Response<String> {
    let path = request.uri().path();
    if !matches!(path, "/" | "/metrics" | "/-/healthy") {
        let text = "there is /metrics and nothing else\n";
        return plain(StatusCode::NOT_FOUND, text);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
        let allowed = hyper::header::HeaderValue::from_static("GET, HEAD");
        refused.headers_mut().insert(ALLOW, allowed);
        return refused;
    }
    match path {
        "/metrics" => exposition(request, seen),
        "/-/healthy" => health(seen),
        _ => plain(StatusCode::OK, INDEX),
    }
}

fn exposition<B>(request: &Request<B>, seen: &Seen) -> Response<String> {
    // A list may come in several lines (RFC 9110, section 5.3).
    let lines = request.headers().get_all(ACCEPT).iter();
    let lines: Vec<&str> = lines.filter_map(|value| value.to_str().ok()).collect();
    let format = accept::format(Some(&lines.join(",")));
    let age_s = seen.age_s().unwrap_or_default();
    let text = metrics::exposition(&seen.scene, &seen.tally, age_s, format);
    of(StatusCode::OK, format.content_type(), text)
}

fn health(seen: &Seen) -> Response<String> {
    match seen.age_s() {
        Some(age) if age <= STALE_S => plain(StatusCode::OK, "looking\n"),
        Some(age) => {
            let text = format!("the newest look is {age:.0} s old\n");
            plain(StatusCode::SERVICE_UNAVAILABLE, &text)
        }
        None => plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "the first look has not ended\n",
        ),
    }
}

fn plain(status: StatusCode, text: &str) -> Response<String> {
    of(status, PLAIN, text.to_owned())
}

fn of(status: StatusCode, content_type: &'static str, text: String) -> Response<String> {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    let content_type = hyper::header::HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Moment;
    use crate::source::clock;
    use crate::testing::{diagnosis, scene, server};
    use crate::view::Scene;
    use crate::view::metrics::Tally;

    /// What was seen so many seconds ago.
    fn seen(age_s: Option<f64>) -> Seen {
        let mut tally = Tally::default();
        let scene = match age_s {
            None => Scene::before_the_first_look(1.0),
            Some(age_s) => {
                let mut scene = scene(diagnosis(vec![server(10, 8000)], vec![]), vec![]);
                let snapshot = std::sync::Arc::make_mut(scene.snapshot.as_mut().unwrap());
                snapshot.at = Moment(clock::now().0.saturating_sub((age_s * 1e9) as u64));
                scene
            }
        };
        tally.observe(&scene);
        Seen { scene, tally }
    }

    fn asked(method: Method, path: &str, accept: &[&'static str], seen: &Seen) -> Response<String> {
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        for line in accept {
            let value = hyper::header::HeaderValue::from_static(line);
            request.headers_mut().append(ACCEPT, value);
        }
        answer(&request, seen)
    }

    #[test]
    fn paths_and_methods() {
        let seen = seen(Some(1.0));
        for (method, path, status, part) in [
            (Method::GET, "/", 200, "/metrics"),
            (Method::GET, "/metrics", 200, "steth_server_phase{"),
            (Method::GET, "/metrics?x=1", 200, "steth_server_phase{"),
            (Method::HEAD, "/metrics", 200, "steth_server_phase{"),
            (Method::GET, "/-/healthy", 200, "looking"),
            (Method::GET, "/metrics/", 404, "/metrics"),
            (Method::GET, "/debug", 404, "/metrics"),
            (Method::POST, "/metrics", 405, "GET"),
            (Method::DELETE, "/", 405, "GET"),
        ] {
            let response = asked(method.clone(), path, &[], &seen);
            assert_eq!(response.status(), status, "{method} {path}");
            assert!(response.body().contains(part), "{method} {path}");
            assert_eq!(response.headers().contains_key(ALLOW), status == 405);
        }
    }

    #[test]
    fn the_format_is_the_clients_choice() {
        let seen = seen(Some(1.0));
        for (accept, content_type, last) in [
            (&[][..], "text/plain; version=0.0.4; charset=utf-8", ""),
            (
                &["text/html", "application/openmetrics-text;version=1.0.0"],
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                "# EOF\n",
            ),
        ] {
            let response = asked(Method::GET, "/metrics", accept, &seen);
            assert_eq!(response.headers()[CONTENT_TYPE], content_type);
            assert_eq!(response.body().ends_with("# EOF\n"), !last.is_empty());
        }
    }

    #[test]
    fn a_look_that_is_old_is_told_and_is_not_healthy() {
        for (age_s, status) in [(None, 503), (Some(0.0), 200), (Some(40.0), 503)] {
            let seen = seen(age_s);
            let health = asked(Method::GET, "/-/healthy", &[], &seen);
            assert_eq!(health.status(), status, "{age_s:?}");
            let metrics = asked(Method::GET, "/metrics", &[], &seen);
            assert_eq!(metrics.status(), 200);
            let mut lines = metrics.body().lines();
            let age = lines.find_map(|l| l.strip_prefix("steth_look_age_seconds "));
            let age: Option<f64> = age.map(|age| age.parse().unwrap());
            assert_eq!(age.is_some(), age_s.is_some());
            assert!(age.unwrap_or_default() >= age_s.unwrap_or_default());
        }
    }
}
