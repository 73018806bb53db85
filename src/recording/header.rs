//! The first line of a recording and of a stream: which version, by whom, from where.

use serde::{Deserialize, Serialize};

use super::ReadError;

/// Name and version of the format.
pub const SCHEMA: &str = "steth.recording/1";
const NAME: &str = "steth.recording/";

/// Bytes that the first line may have.
pub const MOST_HEADER: usize = 16 << 10;

/// What a recording or a stream begins with. Unknown fields are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`SCHEMA`]
    pub schema: String,
    /// Version of the program that wrote it.
    pub steth: String,
    /// Host name, as uname(2) gives it.
    pub host: String,
    /// Release of the kernel, as uname(2) gives it.
    #[serde(default)]
    pub kernel: Option<String>,
    /// `/proc/sys/kernel/random/boot_id`: moments of two boots cannot be compared.
    #[serde(default)]
    pub boot_id: Option<String>,
    /// When it began, in milliseconds since the Unix epoch.
    pub wall_ms: i64,
    /// Seconds between two looks at quiet processes.
    pub interval_s: f64,
    /// False if secrets were left in clear.
    #[serde(default)]
    pub masked: Option<bool>,
}

impl Header {
    /// As one line with its line feed.
    ///
    /// # Errors
    /// JSON's.
    pub fn line(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }

    /// From a line, with or without its line feed.
    ///
    /// # Errors
    /// A line that is no header, and one of another version.
    pub fn parse(line: &[u8]) -> Result<Self, ReadError> {
        #[derive(Deserialize)]
        struct Version {
            schema: String,
        }
        let Version { schema } = serde_json::from_slice(line).map_err(|_| ReadError::Foreign)?;
        match schema.strip_prefix(NAME) {
            None => Err(ReadError::Foreign),
            Some(_) if schema == SCHEMA => {
                serde_json::from_slice(line).map_err(|_| ReadError::Foreign)
            }
            Some(version) => Err(ReadError::Version {
                version: version
                    .chars()
                    .filter(char::is_ascii_alphanumeric)
                    .take(16)
                    .collect(),
            }),
        }
    }
}
