"""Free ports, and the address that others reach."""

import socket

from memflux.platform.launching.ports import free_ports, own_address


def test_ports_are_different_and_free():
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as one:
            one.bind(("127.0.0.1", port))


def test_the_own_address_is_one_of_this_machine():
    address = own_address(["no-such-machine.invalid"])
    with socket.socket() as one:
        one.bind((address, 0))


def test_a_name_that_stands_for_a_loopback_address_is_not_taken(monkeypatch):
    names = {"first": "127.0.1.1", "second": "10.1.2.3"}
    monkeypatch.setattr(socket, "gethostbyname", names.__getitem__)
    assert own_address(["first", "second"]) == "10.1.2.3"
