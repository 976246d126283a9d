// The official Node SDK against a Service Bus broker: one line a case, exit code 1 when any failed.
// Arguments: the folder with node_modules, connection string, topic, subscription, the key.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { setTimeout as wait } from "node:timers/promises";

const [peers, connection, topic, subscription, key] = process.argv.slice(2);
const require = createRequire(`${peers}/`);
const { ServiceBusClient } = require("@azure/service-bus");

const WAIT = { maxWaitTimeInMs: 60_000 };
const RETRIES = { retryOptions: { maxRetries: 0, timeoutInMs: 60_000 } };

const client = new ServiceBusClient(connection, RETRIES);
let sent = 0;

// The SDK renews no lock of a message without an id.
async function send(...messages) {
  const sender = client.createSender(topic);
  for (const message of messages) await sender.sendMessages({ messageId: `sent-${sent++}`, ...message });
  await sender.close();
}

// Runs `work` with a receiver of the subscription, and closes it.
async function receiving(work, options = {}) {
  const receiver = client.createReceiver(topic, subscription, options);
  try {
    await work(receiver);
  } finally {
    await receiver.close();
  }
}

async function one(receiver) {
  const messages = await receiver.receiveMessages(1, WAIT);
  assert.equal(messages.length, 1);
  return messages[0];
}

const cases = {
  async send_and_complete() {
    await send({ body: { a: 1 }, messageId: "plain", contentType: "application/json", applicationProperties: { kind: "test" } });
    await receiving(async (receiver) => {
      const message = await one(receiver);
      assert.deepEqual(message.body, { a: 1 });
      assert.equal(message.messageId, "plain");
      assert.equal(message.contentType, "application/json");
      assert.equal(message.applicationProperties.kind, "test");
      assert.equal(message.deliveryCount, 0);
      assert.ok(message.sequenceNumber.toNumber() > 0);
      assert.ok(message.lockedUntilUtc > message.enqueuedTimeUtc);
      assert.match(message.lockToken, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/);
      await receiver.completeMessage(message);
    });
  },

  async batch() {
    const sender = client.createSender(topic);
    const batch = await sender.createMessageBatch();
    for (let number = 0; number < 100; number++) assert.ok(batch.tryAddMessage({ body: number, messageId: `batch-${number}` }));
    await sender.sendMessages(batch);
    await sender.close();
    const seen = [];
    await receiving(async (receiver) => {
      while (seen.length < 100) {
        const messages = await receiver.receiveMessages(30, WAIT);
        assert.ok(messages.length > 0, `only ${seen.length} arrived`);
        for (const message of messages) {
          seen.push(message.body);
          await receiver.completeMessage(message);
        }
      }
    });
    assert.deepEqual(seen, Array.from({ length: 100 }, (_, number) => number));
  },

  async subscribe() {
    await send({ body: "pushed-1" }, { body: "pushed-2" });
    await receiving(async (receiver) => {
      const seen = [];
      await new Promise((resolve, reject) => {
        receiver.subscribe({
          processMessage: async (message) => {
            await receiver.completeMessage(message);
            seen.push(message.body);
            if (seen.length === 2) resolve();
          },
          processError: async ({ error }) => reject(error),
        }, { autoCompleteMessages: false });
      });
      assert.deepEqual(seen.sort(), ["pushed-1", "pushed-2"]);
    });
  },

  async large_message() {
    const text = "0123456789".repeat(30_000);
    await send({ body: text });
    await receiving(async (receiver) => {
      const message = await one(receiver);
      assert.equal(message.body, text);
      await receiver.completeMessage(message);
    });
  },

  async abandon() {
    await send({ body: "abandoned" });
    await receiving(async (receiver) => {
      await receiver.abandonMessage(await one(receiver));
      const message = await one(receiver);
      assert.equal(message.deliveryCount, 1);
      await receiver.completeMessage(message);
    });
  },

  async dead_letter() {
    await send({ body: "dead" });
    await receiving(async (receiver) => {
      await receiver.deadLetterMessage(await one(receiver), {
        deadLetterReason: "Bad",
        deadLetterErrorDescription: "it is broken",
      });
    });
    await receiving(async (receiver) => {
      const message = await one(receiver);
      assert.equal(message.body, "dead");
      assert.equal(message.deadLetterReason, "Bad");
      assert.equal(message.deadLetterErrorDescription, "it is broken");
      await receiver.completeMessage(message);
    }, { subQueueType: "deadLetter" });
  },

  async defer() {
    await send({ body: "deferred" });
    await receiving(async (receiver) => {
      const message = await one(receiver);
      await receiver.deferMessage(message);
      const [again] = await receiver.receiveDeferredMessages(message.sequenceNumber);
      assert.equal(again.body, "deferred");
      await receiver.completeMessage(again);
    });
  },

  async renew() {
    await send({ body: "renewed" });
    await receiving(async (receiver) => {
      const message = await one(receiver);
      const until = message.lockedUntilUtc;
      await wait(50);
      assert.ok((await receiver.renewMessageLock(message)) > until);
      await receiver.completeMessage(message);
    });
  },

  async peek() {
    await send({ body: "peeked-1" }, { body: "peeked-2" });
    await receiving(async (receiver) => {
      const peeked = await receiver.peekMessages(10);
      assert.deepEqual(peeked.map((message) => message.body), ["peeked-1", "peeked-2"]);
      for (const expected of ["peeked-1", "peeked-2"]) {
        const message = await one(receiver);
        assert.equal(message.body, expected);
        await receiver.completeMessage(message);
      }
      assert.deepEqual(await receiver.peekMessages(1), []);
    });
  },

  async lock_lost() {
    await send({ body: "lost" });
    await receiving(async (receiver) => {
      const message = await one(receiver);
      // The lock's time is the subject here: nothing else tells that it is over.
      await wait(Math.max(0, message.lockedUntilUtc - Date.now()) + 300);
      await assert.rejects(receiver.completeMessage(message), { code: "MessageLockLost" });
      const again = await one(receiver);
      assert.equal(again.deliveryCount, 1);
      await receiver.completeMessage(again);
    }, { maxAutoLockRenewalDurationInMs: 0 });
  },

  async receive_and_delete() {
    await send({ body: "deleted" });
    await receiving(async (receiver) => assert.equal((await one(receiver)).body, "deleted"), { receiveMode: "receiveAndDelete" });
    await receiving(async (receiver) => {
      assert.deepEqual(await receiver.receiveMessages(1, { maxWaitTimeInMs: 500 }), []);
    });
  },

  async unknown_entity() {
    const receiver = client.createReceiver(topic, "unknown");
    await assert.rejects(receiver.receiveMessages(1, WAIT), { code: "MessagingEntityNotFound" });
    await receiver.close();
  },

  async wrong_key() {
    const stranger = new ServiceBusClient(connection.replace(key, "d3Jvbmc="), RETRIES);
    const receiver = stranger.createReceiver(topic, subscription);
    await assert.rejects(receiver.receiveMessages(1, WAIT), { code: "UnauthorizedAccess" });
    await stranger.close();
  },
};

let failed = 0;
for (const [name, run] of Object.entries(cases)) {
  const started = Date.now();
  try {
    await run();
    console.log(`ok ${name} (${((Date.now() - started) / 1000).toFixed(1)} s)`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name}`);
    console.error(error);
  }
}
await client.close();
process.exit(failed ? 1 : 0);
