//! What `longshore check --connect` looks at: whether the API lets us in, and whether the subscriptions are in place.
//! Nothing is changed.

use tokio::time::Instant;

use super::plan::{Action, Choices};
use super::{Plan, SubscriptionsSettings, Terms, api};
use crate::access::AccessError;
use crate::error::chain;
use crate::feed::webhook::SharedSecret;
use crate::ops::Context;
use crate::probe::{Finding, Step};

/// Signs in, and compares.
pub(crate) async fn walk(
    settings: &SubscriptionsSettings,
    secret: Option<&SharedSecret>,
    context: &Context,
) -> Vec<Step> {
    const SIGN_IN: &str = "vendor's API lets us in";
    const IN_PLACE: &str = "subscriptions are in place";
    let began = Instant::now();
    let step = |name: &str, began: Instant, finding| Step { name: name.to_owned(), took: began.elapsed(), finding };
    let signed_in = match api(settings, std::sync::Arc::clone(&context.clock)) {
        Ok(api) => api.sign_in().await.map(|()| api).map_err(|error| bad(&error)),
        Err(error) => Err(Finding::Bad { error: chain(&error), remedy: "correct `ca_file`".to_owned() }),
    };
    let api = match signed_in {
        Ok(api) => api,
        Err(finding) => {
            return vec![step(SIGN_IN, began, finding), step(IN_PLACE, Instant::now(), Finding::Skipped)];
        }
    };
    let mut steps = vec![step(SIGN_IN, began, Finding::Good { seen: format!("as {}", settings.identity.username) })];
    let began = Instant::now();
    let compared = async {
        let terms = Terms::new(settings, secret)?;
        let all = api.list().await?;
        Ok::<_, AccessError>(Plan::new(&settings.wanted, &all, &terms, Choices::default()))
    };
    let finding = match compared.await {
        Ok(plan) if plan.is_done() => {
            Finding::Good { seen: format!("all {} that are wanted", plan.count(Action::Keep)) }
        }
        Ok(plan) => Finding::Warning {
            seen: format!(
                "{} to make, {} to replace, {} to delete, {} without room",
                plan.count(Action::Create),
                plan.count(Action::Replace),
                plan.count(Action::Delete),
                plan.count(Action::NoRoom),
            ),
            remedy: "see `longshore subscriptions plan`, then apply".to_owned(),
        },
        Err(error) => bad(&error),
    };
    steps.push(step(IN_PLACE, began, finding));
    steps
}

fn bad(error: &AccessError) -> Finding {
    Finding::Bad {
        error: error.message().to_owned(),
        remedy: error.remedy().unwrap_or("look at the feed's subscriptions in the configuration").to_owned(),
    }
}
