//! What the daemon is told: feeds of every kind, sinks of every kind, and short limits.

use crate::command::Script;
use crate::receiver::Receiver;
use crate::senders::{Caller, Dropper};

/// The vendor's feed, which `access` has begun, and others.
pub fn feeds(access: &str, transport: &str, caller: &Caller, dropper: &Dropper) -> String {
    format!(
        r#"{access}transport = "{transport}"
reconnect_min = "20ms"
reconnect_max = "300ms"
silence_max = "2s"

[[feed]]
name = "hooks"
type = "webhook"
listen = "{}"
secret_file = "secret"

[[feed]]
name = "drop"
type = "drop"
source = {:?}
poll = "100ms"
stable_for = "100ms"
after = "delete"
"#,
        caller.address(),
        dropper.folder()
    )
}

/// Routes to a sink of each kind, with batches so small that a file is many of them.
pub fn sinks(receiver: &Receiver, script: &Script) -> String {
    format!(
        r#"
[[entity]]
name = "item"
blob_types = ["Gateway.ItemChanges", "Xml.Items"]
key = {{ sku = "/identifier/sku", xml = "/Item/identifier/sku" }}

[[route]]
name = "xml"
blob_types = ["Xml.*"]
sinks = ["files", "table", "shop", "script"]

[[route]]
name = "events"
blob_types = ["Events*"]
sinks = ["files", "table", "shop", "script"]
only = [{{ pointer = "/keep", equals = ["yes"] }}]

[[route]]
name = "prices"
blob_types = ["Prices"]
sinks = ["files", "table", "shop", "script"]
parents = [{{ entity = "item", key = {{ sku = "/item", xml = "/item" }} }}]

[[route]]
name = "everything"
blob_types = ["*"]
sinks = ["files", "table", "shop", "script"]

[[sink]]
name = "files"
type = "directory"
path = "delivered"
batch_records_max = 16

[[sink]]
name = "table"
type = "sqlite"
path = "records.db"
key = {{ everything = "/identifier/sku", xml = "/Item/identifier/sku", prices = "/price", events = "/id" }}
batch_records_max = 40

[[sink]]
name = "shop"
type = "http"
url = "http://{}/import"
timeout = "700ms"
batch_records_max = 30

[[sink]]
name = "script"
type = "command"
command = {:?}
timeout = "2s"
batch_records_max = 100

[inbox]
path = "inbox.db"
"#,
        receiver.address(),
        script.command()
    )
}

/// Short limits everywhere, so that a fault is noticed within a cycle; budgets that no number of cycles uses up.
pub fn limits(ordering: &str) -> String {
    format!(
        r#"
[tokens]
refresh_interval_min = "1s"

[work]
ordering = "{ordering}"
lease = "5s"
drain = "5s"
attempts_max = 1000000
retry_min = "20ms"
retry_max = "300ms"
missing_object_for = "1h"

[fetch]
connect_timeout = "1s"
idle_timeout = "1s"

[log]
level = "debug"
"#
    )
}
