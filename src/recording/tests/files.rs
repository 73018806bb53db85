//! Files that are written, appended to and kept within limits.
