//! The work of the demo: the pages of the manual, each with the number of its words.

/// One page, compiled in, so that the demo needs nothing but the program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    pub name: &'static str,
    pub text: &'static str,
}

macro_rules! pages {
    ($($name:literal),* $(,)?) => {
        &[$(Page {
            name: $name,
            text: include_str!(concat!("../../../docs/manual/", $name, ".md")),
        }),*]
    };
}

/// Every page, in the order in which a person reads them.
pub(super) const PAGES: &[Page] = pages![
    "01-what-junto-is",
    "02-first-node",
    "03-identity-and-keys",
    "04-joining-a-lan",
    "05-joining-over-the-internet",
    "06-serving-work",
    "07-delegating-work",
    "08-promises",
    "09-waking",
    "10-http-api",
    "11-testnets",
    "12-troubleshooting",
    "13-measuring",
    "14-health-and-limits",
    "15-messages",
    "16-sending-files",
    "17-peers-without-libp2p",
    "18-watching-and-mapping",
    "19-other-ways-to-serve",
    "20-keychain-and-backups",
    "21-choosing-workers",
    "22-large-and-long-work",
    "23-when-a-task-fails",
    "24-handing-parts-on",
    "25-names-and-errors",
];

/// What a worker runs. The pause is what makes the work visible, and a worker catchable at it.
pub(super) const COUNT_COMMAND: &str = "sleep 1.5; LC_ALL=C tr -s '[:space:]' '\\n' | grep -c .";

impl Page {
    /// The right answer, counted without any shell.
    pub(super) fn words(&self) -> usize {
        self.text.split_ascii_whitespace().count()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn every_page_of_the_manual_is_in_the_list() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/manual");
        let mut found: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|name| name.strip_suffix(".md").map(str::to_owned))
            .collect();
        found.sort();
        let listed: Vec<&str> = PAGES.iter().map(|page| page.name).collect();
        assert_eq!(found, listed);
    }

    #[test]
    fn pages_are_ascii_and_of_a_readable_length() {
        for page in PAGES {
            // Another byte could make the shell's idea of a word differ from ours.
            assert!(page.text.is_ascii(), "{}", page.name);
            assert!(
                (150..=500).contains(&page.words()),
                "{}: {}",
                page.name,
                page.words()
            );
            assert!(page.text.starts_with("# "), "{}", page.name);
            assert!(
                page.text.lines().all(|line| line.len() <= 88),
                "{}",
                page.name
            );
        }
    }

    #[test]
    fn the_shell_counts_as_we_do() {
        let (_, count) = COUNT_COMMAND.split_once(';').unwrap();
        for page in PAGES {
            let mut shell = Command::new("/bin/sh")
                .args(["-c", count])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            shell
                .stdin
                .take()
                .unwrap()
                .write_all(page.text.as_bytes())
                .unwrap();
            let output = shell.wait_with_output().unwrap();
            let counted = String::from_utf8(output.stdout).unwrap();
            assert_eq!(counted.trim(), page.words().to_string(), "{}", page.name);
        }
    }
}
