//! Packets, counted: a host in a network of its own, where every address but those of the host itself lies behind one
//! interface, the canary. What a guest is refused must not send a single packet there, not even to look a name up.
//!
//! The test starts itself anew in the namespace. Making one takes rights that a process does not have everywhere.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Account, HostPlan, Stage, action, eventually, node, project, skip};

/// Makes the network: a pair of interfaces, everything routed to the other end, whose address nobody has to ask for. What an
/// interface says by itself in IPv6 (is there a router, who else listens) is turned off as far as that goes.
const NETWORK: &str = "
set -e
ip link set lo up
ip link add canary type veth peer name beyond
echo 0 > /proc/sys/net/ipv6/conf/canary/router_solicitations 2>/dev/null || true
echo 0 > /proc/sys/net/ipv6/conf/canary/dad_transmits 2>/dev/null || true
echo 1 > /proc/sys/net/ipv6/conf/beyond/disable_ipv6 2>/dev/null || true
ip link set beyond up
ip link set canary up
ip addr add 198.18.7.1/24 dev canary
ip addr add 93.184.215.20/28 dev canary
ip addr add 93.184.215.21/28 dev canary
ip neigh replace 198.18.7.2 lladdr 02:00:00:00:00:01 dev canary nud permanent
ip route add default via 198.18.7.2
ip -6 addr add fd00:7::1/64 dev canary nodad
ip -6 addr add 2606:2800:21f:cb07::21/128 dev canary nodad
ip -6 neigh replace fd00:7::2 lladdr 02:00:00:00:00:01 dev canary nud permanent
ip -6 route add default via fd00:7::2
exec \"$@\"
";

/// Every kind of address that is refused, and names that nothing was granted for.
const REFUSED: [&str; 25] = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "2130706433",
    "0x0a.0.0.1",
    "[::ffff:10.0.0.1]",
    "[64:ff9b::a00:1]",
    "[2002:a00:1::]",
    "[fd12:3456::1]",
    "[fe80::1]",
    "[ff02::1]",
];
const NOT_GRANTED: [&str; 4] = ["93.184.215.14", "[2606:2800:21f:cb07::1]", "example.com", "does-not-exist.invalid"];
/// Public, and this host's own: further addresses of an interface whose first one is another.
const OWN: [&str; 3] = ["93.184.215.20", "93.184.215.21", "[2606:2800:21f:cb07::21]"];
/// Public: a guest with a grant may reach it, if there were a way.
const GRANTED: &str = "93.184.215.15";

/// Packets that have gone out over the canary.
fn packets() -> u64 {
    let devices = std::fs::read_to_string("/proc/self/net/dev").expect("Linux has it");
    let line = devices.lines().find_map(|line| line.trim().strip_prefix("canary:")).expect("the canary is there");
    line.split_whitespace().nth(9).expect("tenth: packets sent").parse().expect("a number")
}

/// Waits until the interface has said what it says by itself.
async fn quiet_packets() -> u64 {
    let (mut before, mut quiet_looks) = (packets(), 0);
    eventually("the canary is quiet", async || {
        let now = packets();
        quiet_looks = if now == before { quiet_looks + 1 } else { 0 };
        before = now;
        // Looks come more and more seldom: together these are several seconds.
        (quiet_looks > 12).then_some(now)
    })
    .await
}

fn fetch(hosts: &[&str], granted: &[&str]) -> Value {
    let fetch =
        |host: &&str| json!({ "do": "fetch", "method": "GET", "url": format!("http://{host}/"), "timeout_ms": 1_500 });
    let nodes = hosts.iter().enumerate().map(|(number, host)| {
        let mut node = action(&fetch(host));
        node["grants"]["http"] = granted.iter().map(|host| format!("* http://{host}/*")).collect();
        (format!("n{number}"), node)
    });
    Value::Object(nodes.collect())
}

/// What became of each request.
async fn answers(account: &Account, name: &str, hosts: &[&str], granted: &[&str]) -> Vec<String> {
    account.deploy(&project(name, &fetch(hosts, granted))).await;
    let run = account.run(name, &json!(null)).await;
    (0..hosts.len()).map(|number| node(&run, &format!("n{number}"))["outputs"]["out"].to_string()).collect()
}

#[test]
fn what_is_refused_sends_no_packet() {
    let is_possible = Command::new("unshare").args(["-n", "sh", "-c", NETWORK, "sh", "true"]).output();
    if !is_possible.as_ref().is_ok_and(|output| output.status.success()) {
        return skip(&format!("no network namespace can be made (it takes root, `unshare` and `ip`): {is_possible:?}"));
    }
    let this = std::env::current_exe().expect("it runs");
    let inside = "egress_namespace::inside_the_namespace_nothing_leaves";
    let status = Command::new("unshare")
        .args(["-n", "sh", "-c", NETWORK, "sh"])
        .arg(this)
        .args(["--exact", inside, "--ignored", "--nocapture"])
        .status()
        .expect("it was possible a moment ago");
    assert!(status.success(), "it has failed in the namespace; its output is above");
}

#[tokio::test]
#[ignore = "runs in a network namespace, where `what_is_refused_sends_no_packet` starts it"]
async fn inside_the_namespace_nothing_leaves() {
    let stage =
        Stage::with(|plan: HostPlan| plan.set("egress.connect_timeout", "1s").set("egress.lookup_timeout", "1s")).await;
    let account = stage.account("acme").await;
    account.upload("misbehave").await;
    let before = quiet_packets().await;
    for (hosts, granted) in [(&REFUSED[..], &REFUSED[..]), (&NOT_GRANTED[..], &[][..])] {
        let name = if granted.is_empty() { "strangers" } else { "refused" };
        for (host, answer) in hosts.iter().zip(answers(&account, name, hosts, granted).await) {
            assert!(answer.contains("Denied"), "{host}: {answer}");
        }
        assert_eq!(packets(), before, "packets have left for {name}");
    }
    for (host, answer) in OWN.iter().zip(answers(&account, "own", &OWN, &OWN).await) {
        assert!(answer.contains("Denied") && answer.contains("this host"), "{host}: {answer}");
    }

    // The canary sings: the same request to where the guest may go.
    let reached = answers(&account, "granted", &[GRANTED], &[GRANTED]).await;
    assert!(reached[0].contains("Timeout") || reached[0].contains("Transport"), "{reached:?}");
    assert!(packets() > before, "the packets that are allowed go out over the canary");
    let after = packets();
    // And so does one that is refused, where the operator allows it.
    let lenient = HostPlan::on(&stage.database.url)
        .set("egress.allow_private", "10.0.0.1:80")
        .set("egress.connect_timeout", "1s");
    let database = stage.database;
    drop(stage.host);
    let host = lenient.start().await;
    answers(&account.at(&host), "lenient", &["10.0.0.1"], &["10.0.0.1"]).await;
    assert!(packets() > after);
    drop((host, database));
}
