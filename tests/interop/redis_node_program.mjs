// What ioredis and node-redis ask of Redis. Port, a name for keys, and which of the two are given.
import { createRequire } from "node:module";

const [port, name, which] = process.argv.slice(2);
const require = createRequire(process.env.PACKAGES + "/");
const said = [];
const key = (end) => `${name}.${end}`;

async function withIoredis() {
  const Redis = require("ioredis");
  const client = new Redis({ port: Number(port), host: "127.0.0.1" });
  const worker = client.duplicate();
  const waiting = worker.brpop(key("list"), 10);
  await client.lpush(key("list"), "task");
  said.push((await waiting).join("="));
  const listener = client.duplicate();
  const heard = new Promise((resolve) => listener.on("message", (channel, text) => resolve(text)));
  await listener.subscribe(key("news"));
  await client.publish(key("news"), "hello");
  said.push(await heard);
  const done = await client.multi().set(key("n"), 1).incrby(key("n"), 41).get(key("n")).exec();
  said.push(done.map(([error, value]) => error ?? value).join("/"));
  await client.xgroup("CREATE", key("stream"), "g", "$", "MKSTREAM");
  await client.xadd(key("stream"), "*", "field", "entry");
  const [[, [[id, fields]]]] = await client.xreadgroup("GROUP", "g", "c", "COUNT", 1, "STREAMS", key("stream"), ">");
  said.push(`${fields.join("=")} ${await client.xack(key("stream"), "g", id)}`);
  await client.rpush(key("many"), ...Array.from({ length: 1000 }, (_, i) => String(i)));
  const all = await Promise.all(Array.from({ length: 1000 }, () => client.lpop(key("many"))));
  said.push(all.every((text, i) => text === String(i)));
  try {
    await client.lpush(key("n"), "x");
  } catch (error) {
    said.push(error.message.split(" ")[0]);
  }
  for (const each of [client, worker, listener]) await each.quit();
}

async function withNodeRedis() {
  const { createClient } = require("redis");
  const client = createClient({ url: `redis://127.0.0.1:${port}/0` });
  await client.connect();
  const worker = await client.duplicate().connect();
  const waiting = worker.brPop(key("list"), 10);
  await client.lPush(key("list"), "task");
  const { key: from, element } = await waiting;
  said.push(`${from}=${element}`);
  const listener = await client.duplicate().connect();
  const heard = new Promise((resolve) => listener.subscribe(key("news"), resolve));
  while ((await client.publish(key("news"), "hello")) === 0);
  said.push(await heard);
  const done = await client.multi().set(key("n"), 1).incrBy(key("n"), 41).get(key("n")).exec();
  said.push(done.join("/"));
  await client.xGroupCreate(key("stream"), "g", "$", { MKSTREAM: true });
  await client.xAdd(key("stream"), "*", { field: "entry" });
  const [{ messages }] = await client.xReadGroup("g", "c", { key: key("stream"), id: ">" }, { COUNT: 1 });
  const acked = await client.xAck(key("stream"), "g", messages[0].id);
  said.push(`field=${messages[0].message.field} ${acked}`);
  await client.rPush(key("many"), Array.from({ length: 1000 }, (_, i) => String(i)));
  const all = await Promise.all(Array.from({ length: 1000 }, () => client.lPop(key("many"))));
  said.push(all.every((text, i) => text === String(i)));
  try {
    await client.lPush(key("n"), "x");
  } catch (error) {
    said.push(error.message.split(" ")[0]);
  }
  for (const each of [client, worker, listener]) await each.close();
}

await (which === "ioredis" ? withIoredis() : withNodeRedis());
console.log(said.join(", ").replaceAll(`${name}.`, ""));
