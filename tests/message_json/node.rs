//! One `junto up` with a capability and a hook.

use std::path::Path;
use std::time::Duration;

use super::support::eventually;
use super::support::node::Node;

/// One at `home`, as often as it is wanted.
pub fn start(home: &Path) -> Node {
    let woken = format!("echo woken >> '{}'", home.join("woken").display());
    let args = ["--serve", "wc=wc -w", "--on-wake", &woken];
    Node::at(home, "node").args(&args).up()
}

impl Node {
    /// Waits until the hook has run so often.
    pub fn await_wakes(&self, count: usize) {
        eventually("the hook ran", Duration::from_secs(90), || {
            (self.wakes() == count).then_some(())
        });
    }

    pub fn wakes(&self) -> usize {
        let text = std::fs::read_to_string(self.home.join("woken"));
        text.map_or(0, |text| text.lines().count())
    }
}
