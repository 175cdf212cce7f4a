package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	gogoproto "github.com/cosmos/gogoproto/proto"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"cosmossdk.io/api/amino"

	cosmos_proto "github.com/cosmos/cosmos-proto"
	"github.com/cosmos/cosmos-sdk/crypto/keys/secp256k1"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/tx/signing"
	authsigning "github.com/cosmos/cosmos-sdk/x/auth/signing"

	"github.com/cella-network/cella/chain/app"
)

// Every message of every module can be signed directly and as amino-JSON, which is what hardware wallets sign, and the
// codec that old wallets read knows our messages by the same name and fields.
func TestEveryMessageSigns(t *testing.T) {
	a := newApp(t)
	files, err := gogoproto.MergedRegistry()
	if err != nil {
		t.Fatal(err)
	}
	key := secp256k1.GenPrivKeyFromSecret([]byte("signer"))
	ours := 0
	for _, url := range a.Registry.ListImplementations(sdk.MsgInterfaceProtoName) {
		t.Run(strings.TrimPrefix(url, "/"), func(t *testing.T) {
			desc, err := files.FindDescriptorByName(protoreflect.FullName(url[1:]))
			if err != nil {
				t.Fatal(err)
			}
			msg := example(t, a, files, desc.(protoreflect.MessageDescriptor), address(key))
			for _, mode := range []signing.SignMode{signing.SignMode_SIGN_MODE_DIRECT, signing.SignMode_SIGN_MODE_LEGACY_AMINO_JSON} {
				signBytes(t, a, key, mode, msg)
			}
			if !strings.HasPrefix(url, "/cella.") {
				return
			}
			ours++
			if name, _ := proto.GetExtension(desc.Options(), amino.E_Name).(string); name == "" {
				t.Error("no amino name")
			}
			legacy, err := a.Amino.MarshalJSON(msg)
			if err != nil {
				t.Fatalf("legacy amino: %v", err)
			}
			want := sorted(t, legacy)
			if doc := string(signBytes(t, a, key, signing.SignMode_SIGN_MODE_LEGACY_AMINO_JSON, msg)); !strings.Contains(doc, want) {
				t.Errorf("wallets would sign\n%s\nwhich does not hold\n%s", doc, want)
			}
		})
	}
	if ours < 14 {
		t.Errorf("%d messages of our own were found, want 14 or more", ours)
	}
}

func signBytes(t *testing.T, a *app.App, key *secp256k1.PrivKey, mode signing.SignMode, msg sdk.Msg) []byte {
	t.Helper()
	b := a.TxConfig.NewTxBuilder()
	if err := b.SetMsgs(msg); err != nil {
		t.Fatal(err)
	}
	b.SetGasLimit(1)
	b.SetFeeAmount(sdk.NewCoins(sdk.NewInt64Coin(app.Denom, 1)))
	if err := b.SetSignatures(signing.SignatureV2{PubKey: key.PubKey(), Data: &signing.SingleSignatureData{SignMode: mode}}); err != nil {
		t.Fatal(err)
	}
	data := authsigning.SignerData{Address: address(key).String(), ChainID: chainID, PubKey: key.PubKey()}
	out, err := authsigning.GetSignBytesAdapter(context.Background(), a.TxConfig.SignModeHandler(), mode, data, b.GetTx())
	if err != nil {
		t.Fatalf("%s: %v", mode, err)
	}
	return out
}

// sorted is JSON with its keys in order, as it is signed.
func sorted(t *testing.T, raw []byte) string {
	t.Helper()
	var v any
	err := json.Unmarshal(raw, &v)
	if err == nil {
		raw, err = json.Marshal(v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// example makes a message of which no field is empty.
func example(t *testing.T, a *app.App, files *protoregistry.Files, desc protoreflect.MessageDescriptor, signer sdk.AccAddress) sdk.Msg {
	t.Helper()
	f := filler{t: t, app: a, files: files, signer: signer}
	dyn := dynamicpb.NewMessage(desc)
	f.fill(dyn, 0)
	raw, err := proto.Marshal(dyn)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := a.Registry.Resolve("/" + string(desc.FullName()))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Codec.Unmarshal(raw, msg); err != nil {
		t.Fatalf("%s: %v", desc.FullName(), err)
	}
	return msg
}

type filler struct {
	t      *testing.T
	app    *app.App
	files  *protoregistry.Files
	signer sdk.AccAddress
}

func (f filler) fill(m *dynamicpb.Message, depth int) {
	if depth > 8 {
		return
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		switch {
		case fd.IsMap():
		case fd.ContainingOneof() != nil && fd != fd.ContainingOneof().Fields().Get(0):
		case fd.IsList():
			m.Mutable(fd).List().Append(f.value(fd, depth))
		default:
			m.Set(fd, f.value(fd, depth))
		}
	}
}

func (f filler) value(fd protoreflect.FieldDescriptor, depth int) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(f.text(fd))
	case protoreflect.BytesKind:
		if strings.HasPrefix(string(fd.FullName()), "cosmos.slashing.") { // decimals
			return protoreflect.ValueOfBytes([]byte("1500000000000000000"))
		}
		return protoreflect.ValueOfBytes([]byte{1, 2, 3})
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(1)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(5)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(6)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(7)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(8)
	case protoreflect.MessageKind:
		inner := dynamicpb.NewMessage(fd.Message())
		if fd.Message().FullName() == "google.protobuf.Any" {
			f.pack(inner, fd, depth)
		} else {
			f.fill(inner, depth+1)
		}
		return protoreflect.ValueOfMessage(inner)
	}
	f.t.Fatalf("%s: no example of a %s", fd.FullName(), fd.Kind())
	return protoreflect.Value{}
}

func (f filler) text(fd protoreflect.FieldDescriptor) string {
	scalar, _ := proto.GetExtension(fd.Options(), cosmos_proto.E_Scalar).(string)
	switch scalar {
	case "cosmos.AddressString":
		return f.signer.String()
	case "cosmos.ValidatorAddressString":
		return sdk.ValAddress(f.signer).String()
	case "cosmos.ConsensusAddressString":
		return sdk.ConsAddress(f.signer).String()
	case "cosmos.Int":
		return "7"
	case "cosmos.Dec":
		return "1500000000000000000" // 1.5 as it is on the wire
	}
	if fd.Name() == "denom" {
		return app.Denom
	}
	return "text"
}

// pack puts an example of the first type that a field accepts into an Any.
func (f filler) pack(packed *dynamicpb.Message, fd protoreflect.FieldDescriptor, depth int) {
	accepts, _ := proto.GetExtension(fd.Options(), cosmos_proto.E_AcceptsInterface).(string)
	url := "/cosmos.bank.v1beta1.MsgSend" // of governance and authorisations, which wrap messages
	for _, name := range strings.Split(accepts, ",") {
		if impls := f.app.Registry.ListImplementations(strings.TrimSpace(name)); name != "" && name != sdk.MsgInterfaceProtoName && len(impls) > 0 {
			url = impls[0]
			for _, i := range impls {
				url = min(url, i)
			}
		}
	}
	desc, err := f.files.FindDescriptorByName(protoreflect.FullName(url[1:]))
	if err != nil {
		f.t.Fatal(err)
	}
	inner := dynamicpb.NewMessage(desc.(protoreflect.MessageDescriptor))
	f.fill(inner, depth+1)
	raw, err := proto.Marshal(inner)
	if err != nil {
		f.t.Fatal(err)
	}
	whole := protowire.AppendTag(nil, 1, protowire.BytesType)
	whole = protowire.AppendString(whole, url)
	whole = protowire.AppendTag(whole, 2, protowire.BytesType)
	whole = protowire.AppendBytes(whole, raw)
	if err := proto.Unmarshal(whole, packed); err != nil {
		f.t.Fatal(fmt.Errorf("%s: %w", url, err))
	}
}
