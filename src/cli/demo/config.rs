//! The demo's configuration: what a user would write, with bounds that suit a minute.

use super::feeds::{Feed, UGLY_BLOB_TYPE};
use crate::sandbox::Sandbox;

/// The configuration that hears `feeds` from the sandbox.
pub fn text(sandbox: &Sandbox, feeds: &[Feed]) -> String {
    let mut text = "# The configuration of the demo.\n".to_owned();
    let parts = feeds.iter().map(|feed| match feed {
        Feed::Eg => (sandbox.configuration_of_access(), routes_of_eg()),
        Feed::Bucket => (sandbox.configuration_of_bucket(), ROUTES_OF_BUCKET.to_owned()),
        Feed::Drop => (sandbox.configuration_of_drop(), ROUTES_OF_DROP.to_owned()),
        Feed::Webhook => (sandbox.configuration_of_webhook(), ROUTES_OF_WEBHOOK.to_owned()),
    });
    for (feed, routes) in parts {
        text.push_str(&feed);
        text.push_str(&routes);
    }
    text.push_str(COMMON);
    text
}

/// What is told of a file that is written anew takes the place of what was told before: a table with a key.
const ROUTES_OF_BUCKET: &str = r#"
[[route]]
name = "export"
blob_types = ["*"]
feeds = ["bucket"]
sinks = ["events"]

[[sink]]
name = "events"
type = "sqlite"
path = "events.db"
table = "{route}"
key = ["/id"]

"#;

const ROUTES_OF_DROP: &str = r#"
[[route]]
name = "daily-zip"
blob_types = ["*"]
feeds = ["drop"]
csv_columns = ["eventId", "Identity"]
csv_gather = ["Payload."]
sinks = ["files"]

"#;

const ROUTES_OF_WEBHOOK: &str = r#"
[[route]]
name = "webhook"
blob_types = ["*"]
feeds = ["webhook"]
sinks = ["files"]

"#;

const COMMON: &str = r#"
[[sink]]
name = "files"
type = "directory"
path = "output"
pattern = "{feed}/{blob_type}/{date}/{time}-{notice}.{run}.{ext}"

[inbox]
path = "inbox.db"

[work]
# A blob that is not there is given up after two seconds, so that the demo need not wait an hour for it.
missing_object_for = "2s"
retry_min = "200ms"
# The ugly ones wait for nobody.
ordering = "none"

[ops]
listen = ""

[log]
# The table says what went wrong; `--log-level info` shows the daemon's log as it goes.
level = "off"
"#;

fn routes_of_eg() -> String {
    format!(
        r#"
# What records are about. Here store groups come as XML, items as JSON.
[[entity]]
name = "store-group"
blob_types = ["StoreService.StoreGroups"]
key = "StoreGroup/code"

[[entity]]
name = "item"
blob_types = ["Gateway.ItemChanges"]
key = {{ sku = "/identifier/sku", gtin = "/identifier/mainGTIN" }}

# A price waits for its item and its store group.
[[route]]
name = "prices"
blob_types = ["Gateway.PriceChanges"]
feeds = ["eg"]
sinks = ["shop"]
parents = [
  {{ entity = "item", key = {{ sku = "/itemIdentifier/sku", gtin = "/itemIdentifier/mainGTIN" }} }},
  {{ entity = "store-group", key = "/storeGroup/code" }},
]

# A bundle waits for the items that it is made of, which may stand in the same file.
[[route]]
name = "items"
blob_types = ["Gateway.ItemChanges"]
feeds = ["eg"]
sinks = ["shop"]
parents = [
  {{ entity = "item", key = {{ sku = "/bundleContentItemReferences/0/item/sku" }} }},
  {{ entity = "item", key = {{ sku = "/bundleContentItemReferences/1/item/sku" }} }},
]

# A store waits for its profile and its price zone, and a price zone for its profile.
[[route]]
name = "open-stores"
blob_types = ["StoreService.Stores"]
only = [{{ pointer = "/isOpen", equals = [true] }}]
feeds = ["eg"]
sinks = ["files"]
parents = [
  {{ entity = "store-group", key = "/profile/code" }},
  {{ entity = "store-group", key = "/priceZone" }},
]

[[route]]
name = "store-groups"
blob_types = ["StoreService.StoreGroups"]
feeds = ["eg"]
sinks = ["shop", "files"]
parents = [{{ entity = "store-group", key = "StoreGroup/profile/code" }}]

[[route]]
name = "ugly"
blob_types = ["{UGLY_BLOB_TYPE}"]
feeds = ["eg"]
sinks = ["files"]

[[route]]
name = "everything-else"
blob_types = ["*"]
feeds = ["eg"]
sinks = ["files"]

[[sink]]
name = "shop"
type = "sqlite"
path = "shop.db"
table = "{{route}}"
key = {{ prices = ["/priceGuid"], items = ["/identifier/sku"], store-groups = ["StoreGroup/code"] }}

"#
    )
}
