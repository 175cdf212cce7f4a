// Package attestation holds the rules by which a machine joins the network: what evidence says of it, what it says of
// itself, and who vouches for it.
//
// An enclave M makes fresh keys at every start and joins with the quadruple {R, Sig_M(R), Sig_V(R), Sig_M(Sig_V(R))} (Crust
// III.A). R is its registration: evidence that binds the keys, declared storage, and the block from which it follows the
// chain. V is the endorser that the chain drew for R.
//
//	state        what moves it on                                              checked by
//	-----        ----------------                                              ----------
//	started      M makes keys, evidence over its trust root (PurposeJoin), R
//	             and Sig_M(R); the host announces them and pays                chain: Verify, Judge, CheckRegistration,
//	                                                                           VerifySelf, trust root is a recent block
//	announced    fewer active nodes than the minimum: registered at once
//	             otherwise the chain draws V and stores the Intent
//	drawn        Challenge: V sees the Intent proven, R and Sig_M(R); it gives
//	             a fresh nonce and its own evidence over R's hash
//	             and the nonce (PurposeEndorse)                                V: CheckDrawn, VerifySelf, CheckRegistration
//	challenged   Answer: M sees V's Node and the Intent proven; it gives
//	             evidence over the same (PurposeAnswer)                        M: CheckDrawn, CheckEndorser
//	answered     Endorse: V signs R; the nonce is spent                        V: CheckAnswer
//	endorsed     Confirm: M signs V's signature, if V is whom it answered      M: signature by the key of V's Node
//	confirmed    the host registers the quadruple                              chain: VerifyEndorsed by the drawn V
//	registered   the Node is stored; it holds until Expires
//
// A silent V is replaced by another draw. A restart makes new keys, so M begins again at started.
//
// PlatformSim is INSECURE: a key in a file of the host's plays the hardware. Judge refuses it on any chain that is no devnet.
package attestation
