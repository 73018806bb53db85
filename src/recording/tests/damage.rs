//! Files that are torn, flipped, foreign or empty.
