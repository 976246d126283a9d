//! Many connections of a load generator that we did not write.

use tokio::process::Command;

use crate::common::peers::leave_out;
use crate::common::process::LIMIT;
use crate::world::{SECRET, World};

/// More answers than there are connections.
const ENOUGH: u64 = 100;

/// Each request has an event id of its own, and each answer that is not 200 is counted.
const SCRIPT: &str = r#"
local threads = 0
function setup(thread) thread:set("number", threads); threads = threads + 1 end
function init(args) count = 0; run = args[1] end
function request()
  count = count + 1
  local id = run .. "-" .. number .. "-" .. count
  local body = '{"event":"ORDER_CREATED","eventId":"' .. id .. '","payload":{"id":"' .. id .. '","version":1}}'
  return wrk.format("POST", nil, nil, body)
end
function response(status) if status ~= 200 then print("answered " .. status) end end
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_load_generator_was_answered_200_is_stored() {
    let world = World::new("", "[work]\nworkers = 1\nwindows = [\"00:00-00:01\"]\nzone = \"UTC\"\n");
    let daemon = world.serve().await;
    let script = world.path("load.lua");
    std::fs::write(&script, SCRIPT).expect("written");
    let (mut answered, mut runs) = (0, 0);
    // How many a machine answers in two seconds depends on what else it does.
    while answered <= ENOUGH {
        runs += 1;
        let mut command = Command::new("wrk");
        command.args(["--threads", "2", "--connections", "64", "--duration", "2s", "--timeout", "60s", "--script"]);
        command.arg(&script).args(["--header", &format!("Authorization: {SECRET}")]).arg(world.url("/events"));
        command.args(["--", &runs.to_string()]);
        let output = match tokio::time::timeout(LIMIT, command.kill_on_drop(true).output()).await.expect("it ends") {
            Ok(output) => output,
            Err(error) => return leave_out(&format!("wrk cannot be run (Debian package wrk): {error}")),
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(!said.contains("answered") && !said.contains("Non-2xx") && !said.contains("Socket errors"), "{said}");
        let counted = said.lines().find_map(|line| line.trim().split_once(" requests in "));
        let counted: u64 = counted.and_then(|(count, _)| count.parse().ok()).expect("wrk counts");
        answered += counted;
    }
    // What was under way when wrk ended may be stored as well.
    let stored = |summary: &longshore::inbox::ledger::Summary| {
        let counts = summary.notices;
        counts.heard + counts.open + counts.finished
    };
    let summary = world.wait("all are stored", |summary| stored(summary) >= answered).await;
    assert!(stored(&summary) <= answered + 64 * runs, "{summary:?} after {answered} answers in {runs} runs");
    daemon.stop().await;
}
