/// The board of the guide's program. The one client on its UART connects, subscribes and publishes. When the program sleeps,
/// the board compares the bytes that the client got with the expected ones, and ends the program.
mod board {
    use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
    use std::cell::RefCell;
    use std::convert::Infallible;

    const SENT: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c\x82\x06\0\x01\0\x01t\0\x30\x05\0\x01thi";
    const EXPECTED: &[u8] = b"\x20\x02\0\0\x90\x03\0\x01\0\x30\x05\0\x01thi";

    thread_local!(static RECEIVED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });

    pub struct Uart(&'static [u8]);

    pub fn uart() -> Uart {
        Uart(SENT)
    }

    pub fn millis() -> u64 {
        1
    }

    pub fn random() -> u128 {
        7
    }

    pub fn sleep() {
        assert_eq!(RECEIVED.take(), EXPECTED);
        std::process::exit(0)
    }

    impl ErrorType for Uart {
        type Error = Infallible;
    }

    impl Read for Uart {
        fn read(&mut self, out: &mut [u8]) -> Result<usize, Infallible> {
            Read::read(&mut self.0, out)
        }
    }

    impl ReadReady for Uart {
        fn read_ready(&mut self) -> Result<bool, Infallible> {
            Ok(!self.0.is_empty())
        }
    }

    impl Write for Uart {
        fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
            RECEIVED.with_borrow_mut(|received| received.extend(bytes));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> Result<(), Infallible> {
            Ok(())
        }
    }

    impl WriteReady for Uart {
        fn write_ready(&mut self) -> Result<bool, Infallible> {
            Ok(true)
        }
    }
}
