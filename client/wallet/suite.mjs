// Places a market order and ends it with CosmJS, in one sign mode. Cella's messages are read from the project's .proto files; nothing of
// the project's own code runs here.
//
//   node suite.mjs '{"chain": chain.json, "assets": assetlist.json, "proto": folder, "mnemonic": words, "mode": "direct"|"amino",
//                    "order": {"root": base64, "size", "blocks", "replicas", "price", "addrs"}}'
//
// It prints one line of JSON: {"address", "order", "escrow", "refund", "before", "after"}.
import { Secp256k1HdWallet, makeCosmoshubPath } from "@cosmjs/amino";
import { DirectSecp256k1HdWallet, Registry } from "@cosmjs/proto-signing";
import { AminoTypes, GasPrice, SigningStargateClient, assertIsDeliverTxSuccess, defaultRegistryTypes } from "@cosmjs/stargate";
import { Comet38Client } from "@cosmjs/tendermint-rpc";
import path from "node:path";
import protobuf from "protobufjs";

const input = JSON.parse(process.argv[2]);
const { chain, assets, order } = input;

const root = new protobuf.Root();
// The options that these imports declare mean something to the chain only.
root.resolvePath = (_, target) => (target.startsWith("cella/") ? path.join(input.proto, target) : null);
root.loadSync("cella/market/v1/tx.proto", { keepCase: false });
const type = (name) => root.lookupType(`cella.market.v1.${name}`);

const messages = ["MsgPlaceOrder", "MsgEnd"].map((name) => [`/cella.market.v1.${name}`, type(name)]);
const registry = new Registry([...defaultRegistryTypes, ...messages]);

const aminoTypes = new AminoTypes({
  "/cella.market.v1.MsgPlaceOrder": {
    aminoType: "cella/MsgPlaceOrder",
    toAmino: (m) => ({
      owner: m.owner,
      root: Buffer.from(m.root).toString("base64"),
      size: String(m.size),
      blocks: String(m.blocks),
      replicas: m.replicas,
      price: String(m.price),
      addrs: m.addrs,
    }),
    fromAmino: (m) => ({ ...m, root: Buffer.from(m.root, "base64") }),
  },
  "/cella.market.v1.MsgEnd": {
    aminoType: "cella/MsgEnd",
    toAmino: (m) => ({ owner: m.owner, order: String(m.order) }),
    fromAmino: (m) => m,
  },
});

const wallets = { direct: DirectSecp256k1HdWallet, amino: Secp256k1HdWallet };
const wallet = await wallets[input.mode].fromMnemonic(input.mnemonic, { prefix: chain.bech32_prefix, hdPaths: [makeCosmoshubPath(0)] });
const [{ address }] = await wallet.getAccounts();
if (chain.slip44 !== 118) throw new Error(`slip44 is ${chain.slip44}`);

const token = chain.fees.fee_tokens[0];
const coin = assets.assets.find((a) => a.base === token.denom);
if (!coin) throw new Error(`assetlist.json does not know ${token.denom}`);
const gasPrice = GasPrice.fromString(`${token.average_gas_price}${token.denom}`);
const comet = await Comet38Client.connect(chain.apis.rpc[0].address);
const client = SigningStargateClient.createWithSigner(comet, wallet, { registry, aminoTypes, gasPrice, broadcastPollIntervalMs: 300 });
if ((await client.getChainId()) !== chain.chain_id) throw new Error("the node is of another chain");

async function send(name, value, answer) {
  const res = await client.signAndBroadcast(address, [{ typeUrl: `/cella.market.v1.${name}`, value }], 1.6);
  assertIsDeliverTxSuccess(res);
  return type(answer).toObject(type(answer).decode(res.msgResponses[0].value), { longs: String, defaults: true });
}
const balance = async () => (await client.getBalance(address, coin.base)).amount;

const before = await balance();
const placed = await send("MsgPlaceOrder", { owner: address, ...order, root: Buffer.from(order.root, "base64") }, "MsgPlaceOrderResponse");
const ended = await send("MsgEnd", { owner: address, order: placed.id }, "MsgEndResponse");
console.log(JSON.stringify({ address, order: placed.id, escrow: placed.escrow, refund: ended.refund, before, after: await balance() }));
client.disconnect();
