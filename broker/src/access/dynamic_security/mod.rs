//! Dynamic security as Mosquitto's plugin has it: users, groups and roles in a JSON file, which administrators change by commands over MQTT.
//!
//! ```text
//! security_document  clients, groups, roles and defaults
//! document_json      the document as the JSON of Mosquitto, read and written
//! json_fields        looks up the fields of a JSON object as Mosquitto does
//! request            a request with its commands, and the answer to it
//! command            what a command works on, and what it gives
//! command_fields     what the commands have in common
//! client_commands    the commands about clients
//! group_commands     the commands about groups
//! role_commands      the commands about roles
//! stored_password    the hash of a password, as it stands in the document
//! initial_document   the document of a gateway that has none
//! security_file      the file of the document, replaced as a whole by each change
//! security_rules     the document as rules: what each user may do
//! control_authorizer who may use the topics for requests and answers
//! service            dynamic security in use
//! ```
//!
//! Requests and answers, their errors too, have the form of Mosquitto 2.1, so that `mosquitto_ctrl dynsec` and other programs work unchanged.

mod client_commands;
mod command;
mod command_fields;
mod control_authorizer;
mod document_json;
mod group_commands;
mod initial_document;
mod json_fields;
mod request;
mod role_commands;
mod security_document;
mod security_file;
mod security_rules;
mod service;
mod stored_password;
#[cfg(test)]
mod tests;

pub(crate) use command::Effects;
pub(crate) use control_authorizer::{REQUEST_TOPIC, RESPONSE_TOPIC};
pub(crate) use service::{Answered, DynamicSecurity};
