//! What the broker holds, and the addresses under which clients find it.

use std::collections::HashMap;
use std::sync::Arc;

use super::queue::Queue;
use super::settings::BrokerSettings;

/// Something that a link can be attached to.
#[derive(Clone, Debug)]
pub(super) enum Entity {
    /// Takes messages and gives each to all its subscriptions.
    Topic(Arc<Topic>),
    /// Gives messages; a plain queue also takes them.
    Queue { queue: Arc<Queue>, takes: bool },
    /// Answers requests about the queue, or about the topic as far as it has any.
    Management(Option<Arc<Queue>>),
    /// Takes tokens.
    TokenService,
}

impl Entity {
    /// Whether messages can be published to it.
    pub fn takes_messages(&self) -> bool {
        matches!(self, Self::Topic(_) | Self::Queue { takes: true, .. })
    }
}

/// A topic.
#[derive(Debug)]
pub(super) struct Topic {
    pub subscriptions: Vec<Arc<Queue>>,
}

/// All entities by their path in lower case.
#[derive(Debug, Default)]
pub(super) struct Entities {
    by_path: HashMap<String, Entity>,
    /// Subscriptions and plain queues, without dead-letter queues, in the order of the settings.
    pub queues: Vec<Arc<Queue>>,
}

const DEAD_LETTERS: &str = "$DeadLetterQueue";
const MANAGEMENT: &str = "$management";
/// The address of the token service.
pub(super) const TOKEN_SERVICE: &str = "$cbs";

impl Entities {
    pub fn new(settings: &BrokerSettings) -> Self {
        let mut entities = Self::default();
        entities.by_path.insert(TOKEN_SERVICE.to_owned(), Entity::TokenService);
        for topic in &settings.topics {
            let subscriptions = topic.subscriptions.iter().map(|name| {
                let path = format!("{}/Subscriptions/{name}", topic.name);
                entities.add_queue(&path, false, settings)
            });
            let subscriptions = subscriptions.collect();
            entities.add(&topic.name, Entity::Topic(Arc::new(Topic { subscriptions })), None);
        }
        for name in &settings.queues {
            entities.add_queue(name, true, settings);
        }
        entities
    }

    fn add_queue(&mut self, path: &str, takes: bool, settings: &BrokerSettings) -> Arc<Queue> {
        let dead_path = format!("{path}/{DEAD_LETTERS}");
        let lock = settings.lock_duration;
        let dead = Arc::new(Queue::new(dead_path.as_str().into(), lock, u32::MAX, None));
        self.add(&dead_path, Entity::Queue { queue: Arc::clone(&dead), takes: false }, Some(&dead));
        let queue = Arc::new(Queue::new(path.into(), lock, settings.delivery_count_max, Some(dead)));
        self.add(path, Entity::Queue { queue: Arc::clone(&queue), takes }, Some(&queue));
        self.queues.push(Arc::clone(&queue));
        queue
    }

    fn add(&mut self, path: &str, entity: Entity, queue: Option<&Arc<Queue>>) {
        let path = path.to_lowercase();
        self.by_path.insert(format!("{path}/{MANAGEMENT}"), Entity::Management(queue.map(Arc::clone)));
        self.by_path.insert(path, entity);
    }

    /// The entity at a path as [`path_of_address`] gives it.
    pub fn find(&self, path: &str) -> Option<&Entity> {
        self.by_path.get(path)
    }

    /// Every queue, dead-letter queues too.
    pub fn all_queues(&self) -> impl Iterator<Item = &Arc<Queue>> {
        self.queues.iter().flat_map(|queue| std::iter::once(queue).chain(queue.dead_letters.as_ref()))
    }
}

/// The path of an entity in lower case, from an address that is either the path or a full URI, as the Python SDK
/// sends it.
pub(super) fn path_of_address(address: &str) -> String {
    let path = match address.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => address,
    };
    path.trim_matches('/').to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_path_or_a_full_uri_in_any_case() {
        let settings = BrokerSettings::new().topic("t1", &["s1"]).queue("q1");
        let entities = Entities::new(&settings);
        let find = |address: &str| entities.find(&path_of_address(address)).cloned();
        assert!(matches!(find("T1"), Some(Entity::Topic(topic)) if topic.subscriptions.len() == 1));
        assert!(matches!(find("t1/Subscriptions/s1"), Some(Entity::Queue { takes: false, .. })));
        assert!(matches!(find("amqps://127.0.0.1:5672/t1/Subscriptions/S1"), Some(Entity::Queue { .. })));
        let dead = find("t1/Subscriptions/s1/$DeadLetterQueue");
        assert!(matches!(dead, Some(Entity::Queue { queue, .. }) if queue.path.ends_with(DEAD_LETTERS)));
        assert!(matches!(find("t1/subscriptions/s1/$management"), Some(Entity::Management(Some(_)))));
        assert!(matches!(find("/q1"), Some(Entity::Queue { takes: true, .. })));
        assert!(matches!(find("$cbs"), Some(Entity::TokenService)));
        assert!(find("t2").is_none());
    }
}
