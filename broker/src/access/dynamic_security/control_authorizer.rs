//! Who may use the topics for requests and answers.
//!
//! A request may hold passwords. So nobody but the gateway receives it, and it is never retained.

use crate::access::Principals;
use crate::access::permissions::{RuleAuthorizer, contains};
use crate::output::log::Escaped;
use goldcrest_core::codec::QoS;
use goldcrest_core::{Authorize, Subject, Subscribable, TopicFilter, TopicName};

/// Administrators publish requests to this topic.
pub(crate) const REQUEST_TOPIC: &str = "$CONTROL/dynamic-security/v1";
/// The gateway publishes the answers to this one.
pub(crate) const RESPONSE_TOPIC: &str = "$CONTROL/dynamic-security/v1/response";

/// Answers the core of one shard by the rules, but for the topics of requests and answers.
#[derive(Debug)]
pub(crate) struct ControlAuthorizer(RuleAuthorizer);

impl ControlAuthorizer {
    pub(super) fn new(rules: RuleAuthorizer) -> Self {
        Self(rules)
    }
}

fn is_gateway(who: &Subject<'_>) -> bool {
    who.principal() == Principals::GATEWAY
}

impl Authorize for ControlAuthorizer {
    #[inline]
    fn publish(&self, who: &Subject<'_>, topic: TopicName<'_>, qos: QoS, retain: bool) -> bool {
        if !topic.as_str().starts_with("$CONTROL") {
            return !is_gateway(who) && self.0.publish(who, topic, qos, retain);
        }
        if is_gateway(who) {
            return topic.as_str() == RESPONSE_TOPIC;
        }
        let may = !retain && self.0.publish(who, topic, qos, retain);
        if may && topic.as_str() == REQUEST_TOPIC {
            who.with_client_id(|client| {
                tracing::info!(client = %Escaped(client), "the client asks for a change or a list of users, groups or roles");
            });
        }
        may
    }

    fn subscribe(&self, who: &Subject<'_>, filter: TopicFilter<'_>, qos: QoS) -> Subscribable {
        if is_gateway(who) {
            return Subscribable::wholly_if(filter.as_str() == REQUEST_TOPIC);
        }
        match self.0.subscribe(who, filter, qos) {
            Subscribable::Wholly if contains(filter.proper(), REQUEST_TOPIC) => Subscribable::Partly,
            answer => answer,
        }
    }

    #[inline]
    fn receive(&self, who: &Subject<'_>, topic: TopicName<'_>) -> bool {
        let is_request = topic.as_str() == REQUEST_TOPIC;
        if is_gateway(who) { is_request } else { !is_request && self.0.receive(who, topic) }
    }
}
