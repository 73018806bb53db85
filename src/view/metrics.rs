//! What `steth metrics` tells Prometheus: the newest scene, and what was counted from look to look, as text.
//!
//! ```text
//!   look ──> Scene ──> Tally::observe     counters: they see every look, not only those that are scraped
//!              │          │
//!              └──────────┴──> exposition ──> OpenMetrics 1.0, or the classic text format
//! ```
//!
//! - A server is told by kind, name and address, never by a pid: its series go on over restarts ([`label`], [`tally`]).
//! - What could not be seen has no sample; it is never 0.
//! - So many servers, addresses, pools and endings, and no more: the rest is one number ([`own`]).

pub mod accept;
pub mod counts;
pub mod inside;
pub mod label;
pub mod listener;
pub mod own;
pub mod page;
pub mod server;
pub mod slot;
pub mod tally;
pub mod told;

pub use page::Format;
pub use tally::Tally;

use super::Scene;
use own::LeftOut;
use page::Page;
use told::Told;

/// The text of one scrape; `age_s` is how old the scene is, in seconds.
pub fn exposition(scene: &Scene, tally: &Tally, age_s: f64, format: Format) -> String {
    let mut page = Page::new(format);
    own::write_first(&mut page);
    if let Some(snapshot) = &scene.snapshot {
        let (slots, servers) = tally.told();
        let told: Vec<Told> = slots.iter().map(|s| Told::of(s, snapshot.at)).collect();
        server::write(&mut page, &told);
        let listeners = listener::write(&mut page, &told);
        let pools = inside::write(&mut page, &told);
        let left_out = LeftOut {
            servers,
            listeners,
            pools,
        };
        own::write(&mut page, scene, tally.looks, age_s, left_out);
    }
    page.finish()
}

#[cfg(test)]
mod tests;
