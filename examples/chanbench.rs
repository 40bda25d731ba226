use junto::crypto::{Identity, Jitter, Rng, Seeds};
use junto::proto::node::{NodeConfig, PeerRef, TaskConfig, WakePolicy};
use junto::runtime::channel::{AgentConfig, Channel};
use junto::runtime::{Running, RuntimeConfig, StoreOpener, start};
use junto::store::MemoryStore;
use junto::types::{Multiaddr, Priority};
use rand::SeedableRng;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

async fn host(seed: u64, boot: Vec<Multiaddr>) -> (Running, Identity) {
    let identity = Identity::from_seeds(&Seeds::generate(&mut Rng::seed_from_u64(seed)));
    let config = RuntimeConfig {
        identity: identity.clone(),
        node: NodeConfig {
            network: "channels".parse().unwrap(),
            name: format!("n{seed}").parse().unwrap(),
            capabilities: vec![],
            bootstrap: boot,
            session: Default::default(),
            task: TaskConfig::default(),
            wake: WakePolicy::default(),
        },
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        mdns: false,
        jitter: Jitter::default(),
        serve: Default::default(),
        agent: AgentConfig::Echo,
        on_wake: None,
        guard_exe: None,
    };
    let open: StoreOpener = Arc::new(|| Ok(Box::new(MemoryStore::new())));
    (start(config, open).await.unwrap(), identity)
}
fn cpu(pid: u32) -> f64 {
    let s = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if std::env::args().nth(1).as_deref() == Some("child") {
        let (n, id) = host(2, vec![]).await;
        println!("{}", n.listen()[0].clone().with_p2p(id.peer_id).unwrap());
        std::io::stdout().flush().unwrap();
        let mut l = String::new();
        tokio::task::spawn_blocking(move || std::io::stdin().lock().read_line(&mut l))
            .await
            .unwrap()
            .unwrap();
        return;
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .arg("child")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let addr: Multiaddr = line.trim().parse().unwrap();
    let peer = match addr.iter().last() {
        Some(libp2p::multiaddr::Protocol::P2p(p)) => p,
        _ => panic!(),
    };
    let (n, _) = host(1, vec![addr]).await;
    let h = n.handle();
    let ch: Channel = loop {
        match h.channel(PeerRef::Peer(peer)).await {
            Ok(c) => break c,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let t = Duration::from_secs(20);
    ch.talk(vec![0; 256], Priority::Normal, t).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (me, them) = (std::process::id(), child.id());
    let secs = 3.0;
    // talk
    let mut rtt = vec![];
    let s = Instant::now();
    while s.elapsed().as_secs_f64() < secs {
        let a = Instant::now();
        ch.talk(vec![1; 256], Priority::Normal, t).await.unwrap();
        rtt.push(a.elapsed().as_micros() as u64);
    }
    rtt.sort();
    println!(
        "talk p50 {} p99 {} n {}",
        rtt[rtt.len() / 2],
        rtt[rtt.len() * 99 / 100],
        rtt.len()
    );
    let (c1, c2) = (cpu(me), cpu(them));
    let s = Instant::now();
    let mut js = vec![];
    for _ in 0..64 {
        let ch = ch.clone();
        js.push(tokio::spawn(async move {
            let mut n = 0u64;
            while s.elapsed().as_secs_f64() < secs {
                ch.talk(vec![1; 256], Priority::Normal, t).await.unwrap();
                n += 1;
            }
            n
        }));
    }
    let mut tot = 0;
    for j in js {
        tot += j.await.unwrap();
    }
    println!(
        "pipeline {:.0}/s cpu {:.2} {:.2}",
        tot as f64 / s.elapsed().as_secs_f64(),
        cpu(me) - c1,
        cpu(them) - c2
    );
    let (c1, c2) = (cpu(me), cpu(them));
    let s = Instant::now();
    let mut n = 0u64;
    let b = bytes::Bytes::from(vec![1; 256]);
    while s.elapsed().as_secs_f64() < secs {
        for _ in 0..100 {
            ch.post(b.clone(), Priority::Normal).await.unwrap();
        }
        n += 100;
    }
    ch.drained(t).await.unwrap();
    println!(
        "report {:.0}/s cpu {:.2} {:.2}",
        n as f64 / s.elapsed().as_secs_f64(),
        cpu(me) - c1,
        cpu(them) - c2
    );
    drop(child.stdin.take());
    child.wait().unwrap();
}
