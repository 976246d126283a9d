"""The official Python SDK against a Service Bus broker: one line a case, exit code 1 when any failed.

Arguments: connection string, topic, subscription, the broker's TLS address, a CA file, the key's name and text.
"""

import sys
import time
import traceback

from azure.servicebus import (
    ServiceBusClient,
    ServiceBusMessage,
    ServiceBusReceiveMode,
    ServiceBusSubQueue,
    TransportType,
)
from azure.servicebus.exceptions import (
    MessageLockLostError,
    MessagingEntityNotFoundError,
    ServiceBusAuthenticationError,
    ServiceBusError,
)

CONNECTION, TOPIC, SUBSCRIPTION, TLS_ADDRESS, CA_FILE, KEY_NAME, KEY = sys.argv[1:8]
WAIT = 60


def body(message):
    return b"".join(message.body).decode()


def send(client, *bodies, **properties):
    with client.get_topic_sender(TOPIC) as sender:
        for text in bodies:
            sender.send_messages(ServiceBusMessage(text, message_id=text, **properties))


def receiver(client, **options):
    return client.get_subscription_receiver(TOPIC, SUBSCRIPTION, **options)


def one(source):
    messages = source.receive_messages(max_message_count=1, max_wait_time=WAIT)
    assert len(messages) == 1, messages
    return messages[0]


def case_send_and_complete(client):
    send(client, "plain", application_properties={"kind": "test"}, content_type="text/plain")
    with receiver(client) as source:
        message = one(source)
        assert body(message) == "plain" and message.message_id == "plain"
        assert message.application_properties[b"kind"] == b"test"
        assert message.content_type == "text/plain"
        assert message.delivery_count == 0 and message.sequence_number > 0
        assert message.enqueued_time_utc and message.locked_until_utc > message.enqueued_time_utc
        assert message.lock_token.version == 4
        source.complete_message(message)


def case_batch_and_prefetch(client):
    with client.get_topic_sender(TOPIC) as sender:
        batch = sender.create_message_batch()
        for number in range(100):
            batch.add_message(ServiceBusMessage(f"batch-{number}"))
        sender.send_messages(batch)
    seen = []
    deadline = time.monotonic() + WAIT
    with receiver(client, prefetch_count=20) as source:
        while len(seen) < 100:
            assert time.monotonic() < deadline, f"only {len(seen)} arrived"
            # With messages prefetched this call waits its whole time for the rest of the count, so both are small.
            messages = source.receive_messages(max_message_count=10, max_wait_time=0.5)
            for message in messages:
                seen.append(body(message))
                source.complete_message(message)
    assert seen == [f"batch-{number}" for number in range(100)], seen


def case_large_message(client):
    text = "0123456789" * 30_000
    send_message = ServiceBusMessage(text)
    with client.get_topic_sender(TOPIC) as sender:
        sender.send_messages(send_message)
    with receiver(client) as source:
        message = one(source)
        assert body(message) == text
        source.complete_message(message)


def case_abandon(client):
    send(client, "abandoned")
    with receiver(client) as source:
        source.abandon_message(one(source))
        message = one(source)
        assert message.delivery_count == 1, message.delivery_count
        source.complete_message(message)


def case_dead_letter(client):
    send(client, "dead")
    with receiver(client) as source:
        source.dead_letter_message(one(source), reason="Bad", error_description="it is broken")
    with receiver(client, sub_queue=ServiceBusSubQueue.DEAD_LETTER) as dead:
        message = one(dead)
        assert body(message) == "dead"
        assert message.dead_letter_reason == "Bad", message.dead_letter_reason
        assert message.dead_letter_error_description == "it is broken"
        assert message.dead_letter_source.lower().endswith(SUBSCRIPTION.lower()), message.dead_letter_source
        dead.complete_message(message)


def case_defer(client):
    send(client, "deferred")
    with receiver(client) as source:
        message = one(source)
        source.defer_message(message)
        (again,) = source.receive_deferred_messages([message.sequence_number])
        assert body(again) == "deferred"
        source.complete_message(again)


def case_renew(client):
    send(client, "renewed")
    with receiver(client) as source:
        message = one(source)
        until = message.locked_until_utc
        while time.time() * 1000 <= message.enqueued_time_utc.timestamp() * 1000 + 50:
            time.sleep(0.01)
        assert source.renew_message_lock(message) > until
        source.complete_message(message)


def case_peek(client):
    send(client, "peeked-1", "peeked-2")
    with receiver(client) as source:
        peeked = source.peek_messages(max_message_count=10)
        assert [body(message) for message in peeked] == ["peeked-1", "peeked-2"], peeked
        for expected in ("peeked-1", "peeked-2"):
            message = one(source)
            assert body(message) == expected
            source.complete_message(message)
        assert source.peek_messages() == []


def case_lock_lost(client):
    send(client, "lost")
    with receiver(client) as source:
        message = one(source)
        # The lock's time is the subject here: nothing else tells that it is over.
        time.sleep(max(0, message.locked_until_utc.timestamp() - time.time()) + 0.3)
        try:
            settle_late(source, message)
            raise AssertionError("a lost lock was settled")
        except MessageLockLostError:
            pass
        again = one(source)
        assert again.delivery_count == 1, again.delivery_count
        source.complete_message(again)


def settle_late(source, message):
    """Asks the broker, where the SDK would refuse by its own clock already."""
    kind = type(message)
    own = kind._lock_expired
    kind._lock_expired = property(lambda self: False)
    try:
        source.complete_message(message)
    finally:
        kind._lock_expired = own


def case_receive_and_delete(client):
    send(client, "deleted")
    with receiver(client, receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE) as source:
        assert body(one(source)) == "deleted"
    with receiver(client) as source:
        assert source.receive_messages(max_wait_time=1) == []


def case_unknown_entity(client):
    try:
        with client.get_subscription_receiver(TOPIC, "unknown") as source:
            source.receive_messages(max_wait_time=WAIT)
        raise AssertionError("an unknown subscription was attached")
    except MessagingEntityNotFoundError:
        pass


def case_wrong_key(_client):
    wrong = CONNECTION.replace(KEY, "d3Jvbmc=")
    try:
        with ServiceBusClient.from_connection_string(wrong, retry_total=0) as client:
            with receiver(client) as source:
                source.receive_messages(max_wait_time=WAIT)
        raise AssertionError("a wrong key was let in")
    except ServiceBusAuthenticationError:
        pass
    except ServiceBusError as error:
        assert "nauthorized" in str(error) or "401" in str(error), error


def case_websocket_over_tls(_client):
    endpoint = f"Endpoint=sb://127.0.0.1;SharedAccessKeyName={KEY_NAME};SharedAccessKey={KEY}"
    with ServiceBusClient.from_connection_string(
        endpoint,
        custom_endpoint_address=f"sb://{TLS_ADDRESS}",
        connection_verify=CA_FILE,
        transport_type=TransportType.AmqpOverWebsocket,
        retry_total=0,
    ) as client:
        case_send_and_complete(client)


def case_tls(_client):
    endpoint = f"Endpoint=sb://127.0.0.1;SharedAccessKeyName={KEY_NAME};SharedAccessKey={KEY}"
    with ServiceBusClient.from_connection_string(
        endpoint,
        custom_endpoint_address=f"sb://{TLS_ADDRESS}",
        connection_verify=CA_FILE,
        transport_type=TransportType.Amqp,
        retry_total=0,
    ) as client:
        case_send_and_complete(client)


def main():
    cases = [(name[5:], case) for name, case in globals().items() if name.startswith("case_")]
    failed = 0
    with ServiceBusClient.from_connection_string(CONNECTION, retry_total=0) as client:
        for name, case in cases:
            started = time.monotonic()
            try:
                case(client)
                print(f"ok {name} ({time.monotonic() - started:.1f} s)", flush=True)
            except Exception:  # each case is reported, whatever went wrong in it
                failed += 1
                print(f"FAILED {name}", flush=True)
                traceback.print_exc()
    sys.exit(1 if failed else 0)


main()
