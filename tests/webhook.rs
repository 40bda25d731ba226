//! Webhooks of real nodes: signed, repeated until heard, also after kill -9, and not to strangers.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use support::{Testnet, eventually};

const SOON: Duration = Duration::from_secs(120);
const SECRET: &str = "between the two of us";

/// One request as the address gets it.
struct Heard {
    signature: Option<String>,
    body: Vec<u8>,
    connection: TcpStream,
}

impl Heard {
    fn answer(mut self, status: &str) {
        let text = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        self.connection.write_all(text.as_bytes()).unwrap();
    }
}

fn hear(listener: &TcpListener) -> Heard {
    listener.set_nonblocking(true).unwrap();
    let begin = Instant::now();
    let connection = loop {
        match listener.accept() {
            Ok((connection, _)) => break connection,
            Err(_) if begin.elapsed() < SOON => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => panic!("nobody called within {SOON:?}: {error}"),
        }
    };
    connection.set_nonblocking(false).unwrap();
    connection.set_read_timeout(Some(SOON)).unwrap();
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let (mut signature, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim().to_owned();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            match name.to_ascii_lowercase().as_str() {
                "x-junto-signature" => signature = Some(value.trim().to_owned()),
                "content-length" => length = value.trim().parse().unwrap(),
                _ => {}
            }
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Heard {
        signature,
        body,
        connection,
    }
}

fn submit(net: &Testnet, capability: &str) -> String {
    let args = ["task", "submit", capability, "--text", "one two"];
    net.json(0, &args).unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn an_address_hears_of_a_tasks_end_signed_and_again_until_it_answers_well() {
    let mut net = Testnet::start(3, &["--serve", "wc=sleep 0.5; wc -w"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/done?key=hidden", listener.local_addr().unwrap());
    let secret = net.dir.path().join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let id = submit(&net, "wc");
    let asked = net.cli(
        0,
        &[
            "task",
            "notify",
            &id,
            &url,
            "--secret-file",
            secret.to_str().unwrap(),
        ],
    );
    assert!(
        asked.status.success(),
        "{}",
        String::from_utf8_lossy(&asked.stderr)
    );

    let first = hear(&listener);
    first.answer("500 Not Now");
    net.kill(0);
    net.restart(0);
    let heard = hear(&listener);
    let task: Value = serde_json::from_slice(&heard.body).unwrap();
    assert_eq!(
        (task["id"].as_str(), task["state"].as_str()),
        (Some(&id[..]), Some("completed"))
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(&heard.body);
    let tag = HEXLOWER.encode(&mac.finalize().into_bytes());
    assert_eq!(
        heard.signature.as_deref(),
        Some(&format!("sha256={tag}")[..])
    );
    heard.answer("204 Heard");

    // One for a task that has ended comes at once; the heard one does not come again.
    net.await_up(0);
    let late = submit(&net, "wc");
    net.cli(0, &["task", "watch", &late]);
    assert!(
        net.cli(0, &["task", "notify", &late, &url])
            .status
            .success()
    );
    let heard = hear(&listener);
    let task: Value = serde_json::from_slice(&heard.body).unwrap();
    assert_eq!(task["id"].as_str(), Some(&late[..]));
    assert_eq!(heard.signature, None);
    heard.answer("200 OK");
}

#[test]
fn an_address_that_was_named_with_the_task_hears_of_it_and_show_says_how_far_that_is() {
    let gates = tempfile::tempdir().unwrap();
    let gate = gates.path().join("gate");
    let wc = format!(
        "wc=while [ ! -e {} ]; do sleep 0.1; done; wc -w",
        gate.display()
    );
    let mut net = Testnet::start(2, &["--serve", &wc]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/done?key=hidden", listener.local_addr().unwrap());
    let secret = net.dir.path().join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let secret = secret.to_str().unwrap();
    let what = ["task", "submit", "wc", "--text", "one two"];
    let whom = ["--notify", &url, "--notify-secret-file", secret];
    let submitted = net.json(0, &[&what[..], &whom].concat()).unwrap();
    let id = submitted["id"].as_str().unwrap().to_owned();
    net.kill(0);
    net.restart(0);
    net.await_up(0);
    // Nobody called before: who was killed cannot hear an answer.
    std::fs::write(&gate, "").unwrap();
    let shown = |state: &str, tries: u64| {
        eventually("the webhook is as far", SOON, || {
            let of = net.json(0, &["task", "show", &id])?["webhook"].clone();
            let told = state == "heard" || of["answer"].is_string();
            // The next try begins a second later: by then it may be counted.
            (told && of["state"] == state && of["tries"].as_u64() >= Some(tries)).then_some(of)
        })
    };
    let first = hear(&listener);
    assert!(first.signature.is_some());
    first.answer("500 Not Now");
    let of = shown("calling", 1);
    assert!(of["answer"].as_str().unwrap().contains("500"), "{of}");
    hear(&listener).answer("204 Heard");
    let of = shown("heard", 2);
    assert!(of["at"].is_string() && of["answer"].is_null(), "{of}");
    let show = net.cli(0, &["task", "show", &id]);
    let show = String::from_utf8_lossy(&show.stdout).into_owned();
    assert!(
        show.contains("webhook") && show.contains("heard at"),
        "{show}"
    );
    assert!(!show.contains("hidden") && !show.contains(SECRET), "{show}");
}

#[test]
fn another_machine_is_told_nothing_unless_the_settings_say_so() {
    let net = Testnet::start(2, &["--serve", "wc=wc -w"]);
    let id = submit(&net, "wc");
    let refused = net.cli(0, &["task", "notify", &id, "http://192.0.2.1/done"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("remote_webhooks"), "{said}");
}
