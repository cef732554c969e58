//! Ten rules for each client, by the code of the gateway.

use crate::rule::{Rule, RuleAction};
use crate::rule_filter::{Placeholders, RuleFilter, SubjectNames};
use crate::rule_list::{RuleList, SubscribeMode};
use goldcrest_core::codec::QoS;
use goldcrest_core::{Authorize, Subject, Subscribable, TopicFilter, TopicName};

const PUBLISH: [(bool, &str); 10] = [
    (false, "admin/#"),
    (false, "+/config"),
    (true, "own/%c/#"),
    (true, "state/+/on"),
    (true, "sensors/#"),
    (true, "log/%c"),
    (true, "plant/#"),
    (true, "hall/#"),
    (true, "line/#"),
    (true, "bench/#"),
];

const RECEIVE: [&str; 10] =
    ["own/%c/#", "commands/%c/#", "state/#", "log/#", "news/+", "sensors/#", "plant/#", "hall/#", "line/#", "bench/#"];

pub(crate) struct TenRules(RuleList);

impl TenRules {
    pub(crate) fn new() -> Self {
        let rule = |allows, filter| {
            let filter = RuleFilter::new(filter, Placeholders::WholeLevels).expect("a filter");
            Rule { allows, filter, is_for_plain_names: false, origin: "a rule".into() }
        };
        let publish = PUBLISH.map(|(allows, filter)| (RuleAction::Publish, rule(allows, filter)));
        let receive = RECEIVE.map(|filter| (RuleAction::Receive, rule(true, filter)));
        Self(RuleList::new(SubscribeMode::Covered, &[publish, receive].concat()))
    }
}

impl Authorize for TenRules {
    fn publish(&self, who: &Subject<'_>, topic: TopicName<'_>, _: QoS, _: bool) -> bool {
        who.with_client_id_bytes(|client_id| {
            let names = SubjectNames { user: None, client_id };
            self.0.decide(RuleAction::Publish, topic.as_str(), &names).is_some_and(|rule| rule.allows)
        })
    }

    fn subscribe(&self, who: &Subject<'_>, filter: TopicFilter<'_>, _: QoS) -> Subscribable {
        let list = &self.0;
        who.with_client_id_bytes(|client_id| list.subscribe(filter.proper(), &SubjectNames { user: None, client_id }).0)
    }
}
