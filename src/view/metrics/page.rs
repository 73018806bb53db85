//! The text that Prometheus reads: OpenMetrics 1.0, or the classic text format 0.0.4, of the same families.
//!
//! The two differ in names of types (the classic format knows neither info nor state set), in where `_total` and `_info` stand, and
//! in the last line. A family without a sample is left out: what could not be seen is absent.

use std::fmt::Write;

/// Which of the two formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Text,
}

impl Format {
    /// Value of the header `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Types of families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Never goes down while this program runs.
    Counter,
    /// A present value.
    Gauge,
    /// Text, as labels of a sample that is always 1.
    Info,
    /// Of several states, named by a label that is called like the family, those that hold are 1, the others 0.
    StateSet,
}

/// All samples of one name.
#[derive(Debug)]
pub struct Family {
    /// Name, without the suffix that the type asks for.
    pub name: &'static str,
    /// Type.
    pub kind: Type,
    /// What the name ends with, if the value has a unit; else empty.
    pub unit: &'static str,
    /// One sentence, without characters that would have to be escaped.
    pub help: &'static str,
}

impl Family {
    /// A counter without a unit.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self::of(Type::Counter, name, help)
    }

    /// A gauge without a unit.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self::of(Type::Gauge, name, help)
    }

    /// A family of any type without a unit.
    pub const fn of(kind: Type, name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            kind,
            unit: "",
            help,
        }
    }

    /// The same with a unit.
    pub const fn in_unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    fn suffix(&self) -> &'static str {
        match self.kind {
            Type::Counter => "_total",
            Type::Info => "_info",
            Type::Gauge | Type::StateSet => "",
        }
    }
}

/// The text as it grows.
#[derive(Debug)]
pub struct Page {
    format: Format,
    text: String,
}

impl Page {
    /// An empty one.
    pub fn new(format: Format) -> Self {
        let text = String::with_capacity(16 << 10);
        Self { format, text }
    }

    /// Adds a family with the samples that `fill` gives it; nothing if it gives none.
    pub fn family(&mut self, family: &Family, fill: impl FnOnce(&mut Samples)) {
        let mut samples = Samples {
            page: self,
            family,
            has_begun: false,
        };
        fill(&mut samples);
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn describe(&mut self, family: &Family) {
        let Family {
            name, unit, help, ..
        } = family;
        // Writing to a String does not fail.
        let _ = match self.format {
            Format::OpenMetrics => {
                let kind = match family.kind {
                    Type::Counter => "counter",
                    Type::Gauge => "gauge",
                    Type::Info => "info",
                    Type::StateSet => "stateset",
                };
                let _ = writeln!(self.text, "# TYPE {name} {kind}");
                if !unit.is_empty() {
                    let _ = writeln!(self.text, "# UNIT {name} {unit}");
                }
                writeln!(self.text, "# HELP {name} {help}")
            }
            Format::Text => {
                let kind = match family.kind {
                    Type::Counter => "counter",
                    _ => "gauge",
                };
                let suffix = family.suffix();
                let _ = writeln!(self.text, "# HELP {name}{suffix} {help}");
                writeln!(self.text, "# TYPE {name}{suffix} {kind}")
            }
        };
    }
}

/// Where the samples of one family go.
#[derive(Debug)]
pub struct Samples<'a> {
    page: &'a mut Page,
    family: &'a Family,
    has_begun: bool,
}

impl Samples<'_> {
    /// Adds a sample. Labels with an empty value are left out: to Prometheus there is no difference.
    pub fn add(&mut self, labels: &Labels, more: &[(&str, &str)], value: f64) {
        if !self.has_begun {
            self.has_begun = true;
            self.page.describe(self.family);
        }
        let text = &mut self.page.text;
        text.push_str(self.family.name);
        text.push_str(self.family.suffix());
        let before = text.len();
        text.push('{');
        text.push_str(&labels.0);
        for (name, value) in more {
            write_label(text, name, value);
        }
        if text.ends_with(',') {
            text.pop();
            text.push('}');
        } else {
            text.truncate(before);
        }
        // To the millionth; f64 writes whole numbers without a point, and none with an exponent.
        let _ = writeln!(text, " {}", (value * 1e6).round() / 1e6);
    }

    /// Adds a sample where there is a value.
    pub fn add_seen(&mut self, labels: &Labels, value: Option<impl Into<f64>>) {
        if let Some(value) = value {
            self.add(labels, &[], value.into());
        }
    }
}

/// Labels that many samples have in common, written once.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels(String);

impl Labels {
    /// These, in this order.
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        let mut text = String::new();
        for (name, value) in pairs {
            write_label(&mut text, name, value);
        }
        Self(text)
    }
}

fn write_label(text: &mut String, name: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    text.push_str(name);
    text.push_str("=\"");
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
    text.push_str("\",");
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITING: Family = Family::gauge("queue_depth", "Connections that wait.");
    const HELD: Family =
        Family::counter("held_seconds", "Seconds for which it was held.").in_unit("seconds");
    const BUILD: Family = Family::of(Type::Info, "build", "Which program this is.");
    const DOOR: Family = Family::of(Type::StateSet, "door", "Whether it is open.");

    fn page(format: Format) -> String {
        let shop = Labels::of(&[("name", "shop"), ("address", "")]);
        let none = Labels::default();
        let mut page = Page::new(format);
        page.family(&WAITING, |s| s.add(&shop, &[("side", "a")], 3.0));
        page.family(&HELD, |s| s.add_seen(&shop, Some(0.25)));
        page.family(&BUILD, |s| s.add(&none, &[("version", "1.2")], 1.0));
        page.family(&DOOR, |s| {
            s.add(&none, &[("door", "open")], 1.0);
            s.add(&none, &[("door", "shut")], 0.0);
        });
        page.family(&WAITING, |s| s.add_seen(&none, None::<f64>));
        page.family(&HELD, |s| s.add(&none, &[], 1e6));
        page.finish()
    }

    #[test]
    fn openmetrics_names_types_and_units_its_own_way() {
        let want = "\
# TYPE queue_depth gauge
# HELP queue_depth Connections that wait.
queue_depth{name=\"shop\",side=\"a\"} 3
# TYPE held_seconds counter
# UNIT held_seconds seconds
# HELP held_seconds Seconds for which it was held.
held_seconds_total{name=\"shop\"} 0.25
# TYPE build info
# HELP build Which program this is.
build_info{version=\"1.2\"} 1
# TYPE door stateset
# HELP door Whether it is open.
door{door=\"open\"} 1
door{door=\"shut\"} 0
# TYPE held_seconds counter
# UNIT held_seconds seconds
# HELP held_seconds Seconds for which it was held.
held_seconds_total 1000000
# EOF
";
        assert_eq!(page(Format::OpenMetrics), want);
    }

    #[test]
    fn the_classic_format_has_only_counters_and_gauges() {
        let text = page(Format::Text);
        for line in [
            "# HELP held_seconds_total Seconds for which it was held.\n# TYPE held_seconds_total counter\n",
            "# TYPE build_info gauge\nbuild_info{version=\"1.2\"} 1\n",
            "# TYPE door gauge\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in:\n{text}");
        }
        assert!(!text.contains("EOF") && !text.contains("UNIT"), "{text}");
    }

    #[test]
    fn values_of_labels_are_escaped() {
        let labels = Labels::of(&[("name", "a \"b\" \\ c\nd é")]);
        assert_eq!(labels.0, "name=\"a \\\"b\\\" \\\\ c\\nd é\",");
    }
}
