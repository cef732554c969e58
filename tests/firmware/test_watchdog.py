"""What the watchdog does when a part of the firmware stops. A special build stops a part when it is told to."""

import unittest

from broker import SECONDS
from client import V5, Client
from machine import STALL_IMAGE, STARTED, Machine
from raw import CONNACK, CONNECT, Stream, connect_with_will


class Watchdog(unittest.TestCase):
    def machine(self):
        return self.enterContext(Machine(STALL_IMAGE))

    def stall(self, machine, name, qos=0):
        """Stops a task by a message. With QoS 1 the task has stopped when this returns; QoS 0 is for tasks whose stop
        prevents the acknowledgement."""
        with Client(machine.tcp, V5) as client:
            client.publish("board/stall", name, qos)

    def assert_it_bites(self, machine, name):
        machine.expect(f"watchdog: no progress of {name}$")
        machine.expect(STARTED)
        # The next client is served.
        with Stream(machine.ports[2]) as stream:
            stream.sendall(CONNECT)
            stream.expect(CONNACK)

    def test_the_watchdog_resets_the_board_when_the_main_loop_hangs(self):
        machine = self.machine()
        self.stall(machine, "main loop")
        self.assert_it_bites(machine, ".*")

    def test_the_watchdog_resets_the_board_when_the_sensor_is_not_read(self):
        machine = self.machine()
        self.stall(machine, "station")
        self.assert_it_bites(machine, "station")

    def test_the_watchdog_resets_the_board_when_frames_are_not_read(self):
        machine = self.machine()
        with Stream(machine.tcp) as stream:
            self.stall(machine, "network")
            stream.sendall(CONNECT)
            self.assert_it_bites(machine, "network")

    def test_the_watchdog_resets_the_board_when_a_uart_is_not_read(self):
        machine = self.machine()
        for uart in range(2):
            with Stream(machine.ports[uart]) as stream:
                self.stall(machine, f"UART{uart}", qos=1)
                stream.sendall(CONNECT)
                self.assert_it_bites(machine, f"UART{uart}")

    def test_the_watchdog_resets_the_board_when_the_brokers_time_stands_still(self):
        machine = self.machine()
        with Stream(machine.ports[0]) as stream:
            stream.sendall(connect_with_will("x", keep_alive=4))
            stream.expect(CONNACK)
            self.stall(machine, "broker")
            self.assert_it_bites(machine, "broker")

    def test_a_stack_overflow_is_reported(self):
        machine = self.machine()
        machine.may_end_with = (1,)
        with Stream(machine.ports[0]) as stream:
            stream.sendall(CONNECT)
            stream.expect(CONNACK)
            try:
                self.stall(machine, "stack")
            except (AssertionError, OSError):
                pass
        machine.expect("the stack has overflowed")
        self.assertEqual(machine.process.wait(SECONDS), 1)


if __name__ == "__main__":
    unittest.main()
