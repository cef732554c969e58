//! One codec for MQTT 3.1, 3.1.1 and 5.0; it knows no session and no topic tree.
