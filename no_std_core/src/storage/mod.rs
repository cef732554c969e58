//! Bounded memory: pools, queues, indexes, timers, bytes. It knows no MQTT.
