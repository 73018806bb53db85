//! Which format does a client ask for? By its `Accept` header (RFC 9110, section 12.5.1).

use super::Format;

/// More ranges than this are not looked at.
const RANGES: usize = 32;

/// The format to answer with: OpenMetrics where it is asked for by name and not less than text, else the classic text format,
/// which is what people and old clients expect.
pub fn format(accept: Option<&str>) -> Format {
    let mut openmetrics = 0.0_f64;
    let mut text = 0.0_f64;
    for range in accept.unwrap_or_default().split(',').take(RANGES) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let parameters = Parameters::of(parts);
        match name.as_str() {
            "application/openmetrics-text" if parameters.is_known_version => {
                openmetrics = openmetrics.max(parameters.quality);
            }
            "text/plain" => text = text.max(parameters.quality),
            _ => {}
        }
    }
    if openmetrics > 0.0 && openmetrics >= text {
        Format::OpenMetrics
    } else {
        Format::Text
    }
}

/// What stands behind the name of a media type.
struct Parameters {
    /// From 0 to 1; 1 where nothing is said.
    quality: f64,
    /// Of OpenMetrics: 1.0.0, or any.
    is_known_version: bool,
}

impl Parameters {
    fn of<'a>(parts: impl Iterator<Item = &'a str>) -> Self {
        let mut parameters = Self {
            quality: 1.0,
            is_known_version: true,
        };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => parameters.quality = value.parse().unwrap_or(0.0),
                "version" => parameters.is_known_version = value == "1.0.0",
                _ => {}
            }
        }
        parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_decides() {
        use Format::{OpenMetrics, Text};
        for (accept, want) in [
            (None, Text),
            (Some(""), Text),
            (Some("*/*"), Text),
            (Some("text/html,application/xhtml+xml,*/*;q=0.8"), Text),
            (Some("application/openmetrics-text"), OpenMetrics),
            (
                Some("Application/OpenMetrics-Text; version=\"1.0.0\"; charset=utf-8"),
                OpenMetrics,
            ),
            // Prometheus 2.42.
            (
                Some(
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ),
                OpenMetrics,
            ),
            // Prometheus 3.
            (
                Some(
                    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,/;q=0.1",
                ),
                OpenMetrics,
            ),
            (
                Some("application/openmetrics-text;version=0.0.1,text/plain;version=0.0.4;q=0.5"),
                Text,
            ),
            (Some("application/openmetrics-text;q=0"), Text),
            (
                Some("application/openmetrics-text;q=0.3,text/plain;q=0.9"),
                Text,
            ),
            (Some("application/openmetrics-text;q=x"), Text),
            (Some(",;;=,q=1"), Text),
        ] {
            assert_eq!(format(accept), want, "{accept:?}");
        }
    }
}
