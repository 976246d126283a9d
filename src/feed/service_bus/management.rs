//! Completes messages by their lock tokens, when the link that they came on has gone before they were settled: their
//! locks live on for some seconds, and the entity's `$management` node takes the token from any link.
//!
//! An attempt, no more: a message whose lock has ended meanwhile comes again, and is found stored.

use std::time::Duration;

use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp_types::messaging::ApplicationProperties;
use fe2o3_amqp_types::primitives::{Array, OrderedMap, Uuid, Value};

use crate::feed::service_bus::batch::Orphan;
use crate::feed::service_bus::fault::Fault;
use crate::feed::service_bus::request::Requests;

const STEP: &str = "completing by lock token";
/// A lock lasts for some 30 s, and hearing waits for this.
const LIMIT: Duration = Duration::from_secs(5);

/// Completes the messages of the subscription at `path`.
pub(super) async fn complete(
    session: &mut SessionHandle<()>,
    path: &str,
    generation: u64,
    orphans: &[Orphan],
) -> Result<(), Fault> {
    let attach = Requests::attach(session, format!("{path}/$management"), generation);
    let mut requests = tokio::time::timeout(LIMIT, attach)
        .await
        .map_err(|_elapsed| Fault::TimedOut { step: STEP, limit: LIMIT })??;
    let properties = ApplicationProperties::builder()
        .insert("operation", "com.microsoft:update-disposition")
        .insert("com.microsoft:server-timeout", u32::try_from(LIMIT.as_millis()).unwrap_or(u32::MAX))
        .build();
    let tokens: Vec<Value> =
        orphans.iter().map(|orphan| Value::Uuid(Uuid::from(*orphan.lock_token.as_bytes()))).collect();
    let mut body = OrderedMap::new();
    body.insert(Value::String("disposition-status".to_owned()), Value::String("completed".to_owned()));
    body.insert(Value::String("lock-tokens".to_owned()), Value::Array(Array(tokens)));
    let answer = requests.call(STEP, properties, Value::Map(body), LIMIT).await?;
    if answer.status == 200 { Ok(()) } else { Err(Fault::Failed { step: STEP, said: answer.to_string() }) }
}
