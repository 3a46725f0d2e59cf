package message

import "strconv"

// ExchangeType is the exchange of a header (RFC 7296 §3.1).
type ExchangeType uint8

const (
	IKE_SA_INIT     ExchangeType = 34
	IKE_AUTH        ExchangeType = 35
	CREATE_CHILD_SA ExchangeType = 36
	INFORMATIONAL   ExchangeType = 37
)

// PayloadType is the number of a payload (RFC 7296 §3.2, RFC 7383 §2.5).
type PayloadType uint8

const (
	TypeNone     PayloadType = 0
	TypeSA       PayloadType = 33
	TypeKE       PayloadType = 34
	TypeIDi      PayloadType = 35
	TypeIDr      PayloadType = 36
	TypeCERT     PayloadType = 37
	TypeCERTREQ  PayloadType = 38
	TypeAUTH     PayloadType = 39
	TypeNonce    PayloadType = 40
	TypeNotify   PayloadType = 41
	TypeDelete   PayloadType = 42
	TypeVendorID PayloadType = 43
	TypeTSi      PayloadType = 44
	TypeTSr      PayloadType = 45
	TypeSK       PayloadType = 46
	TypeCP       PayloadType = 47
	TypeEAP      PayloadType = 48
	TypeSKF      PayloadType = 53
)

// ProtocolID names what an SPI or a proposal is for (RFC 7296 §3.3.1).
type ProtocolID uint8

const (
	ProtoNone ProtocolID = 0
	ProtoIKE  ProtocolID = 1
	ProtoAH   ProtocolID = 2
	ProtoESP  ProtocolID = 3
)

// TransformType is the kind of a transform (RFC 7296 §3.3.2).
type TransformType uint8

const (
	TransformENCR  TransformType = 1
	TransformPRF   TransformType = 2
	TransformINTEG TransformType = 3
	TransformDH    TransformType = 4
	TransformESN   TransformType = 5
)

// IDType is the type of an identification payload (RFC 7296 §3.5).
type IDType uint8

const (
	ID_IPV4_ADDR   IDType = 1
	ID_FQDN        IDType = 2
	ID_RFC822_ADDR IDType = 3
	ID_IPV6_ADDR   IDType = 5
	ID_DER_ASN1_DN IDType = 9
	ID_DER_ASN1_GN IDType = 10
	ID_KEY_ID      IDType = 11
	ID_NULL        IDType = 13
)

// AuthMethod is the method of an AUTH payload (RFC 7296 §3.8, RFC 7427 §3).
type AuthMethod uint8

const (
	AuthRSASignature     AuthMethod = 1
	AuthSharedKey        AuthMethod = 2
	AuthDSSSignature     AuthMethod = 3
	AuthECDSA256         AuthMethod = 9
	AuthECDSA384         AuthMethod = 10
	AuthECDSA521         AuthMethod = 11
	AuthNull             AuthMethod = 13
	AuthDigitalSignature AuthMethod = 14
)

// TSType is the type of a traffic selector (RFC 7296 §3.13.1).
type TSType uint8

const (
	TS_IPV4_ADDR_RANGE TSType = 7
	TS_IPV6_ADDR_RANGE TSType = 8
)

// CertEncoding is the encoding of a CERT or CERTREQ payload (RFC 7296 §3.6).
type CertEncoding uint8

const (
	CertX509Signature CertEncoding = 4
	CertHashAndURL    CertEncoding = 12
)

// CFGType is the type of a configuration payload (RFC 7296 §3.15).
type CFGType uint8

const (
	CFG_REQUEST CFGType = 1
	CFG_REPLY   CFGType = 2
	CFG_SET     CFGType = 3
	CFG_ACK     CFGType = 4
)

// CFGAttributeType is the type of a configuration attribute (RFC 7296 §3.15.1, RFC 8598; 28672 and up are Cisco's Unity).
type CFGAttributeType uint16

const (
	INTERNAL_IP4_ADDRESS CFGAttributeType = 1
	INTERNAL_IP4_NETMASK CFGAttributeType = 2
	INTERNAL_IP4_DNS     CFGAttributeType = 3
	INTERNAL_IP4_NBNS    CFGAttributeType = 4
	INTERNAL_IP4_DHCP    CFGAttributeType = 6
	APPLICATION_VERSION  CFGAttributeType = 7
	INTERNAL_IP6_ADDRESS CFGAttributeType = 8
	INTERNAL_IP6_DNS     CFGAttributeType = 10
	INTERNAL_IP6_DHCP    CFGAttributeType = 12
	INTERNAL_IP4_SUBNET  CFGAttributeType = 13
	SUPPORTED_ATTRIBUTES CFGAttributeType = 14
	INTERNAL_IP6_SUBNET  CFGAttributeType = 15
	INTERNAL_DNS_DOMAIN  CFGAttributeType = 25
	INTERNAL_DNSSEC_TA   CFGAttributeType = 26
	UNITY_BANNER         CFGAttributeType = 28672
	UNITY_SAVE_PASSWD    CFGAttributeType = 28673
	UNITY_DEF_DOMAIN     CFGAttributeType = 28674
	UNITY_SPLITDNS_NAME  CFGAttributeType = 28675
	UNITY_SPLIT_INCLUDE  CFGAttributeType = 28676
	UNITY_NATT_PORT      CFGAttributeType = 28677
	UNITY_LOCAL_LAN      CFGAttributeType = 28678
	UNITY_PFS            CFGAttributeType = 28679
	UNITY_FW_TYPE        CFGAttributeType = 28680
	UNITY_BACKUP_SERVERS CFGAttributeType = 28681
	UNITY_DDNS_HOSTNAME  CFGAttributeType = 28682
)

func (t CFGType) String() string {
	if s, ok := map[CFGType]string{CFG_REQUEST: "CFG_REQUEST", CFG_REPLY: "CFG_REPLY", CFG_SET: "CFG_SET", CFG_ACK: "CFG_ACK"}[t]; ok {
		return s
	}
	return "CFG_" + strconv.Itoa(int(t))
}

// NotifyType is the message of a Notify payload. Below 16384 it is an error (RFC 7296 §3.10.1).
type NotifyType uint16

const (
	UNSUPPORTED_CRITICAL_PAYLOAD  NotifyType = 1
	INVALID_IKE_SPI               NotifyType = 4
	INVALID_MAJOR_VERSION         NotifyType = 5
	INVALID_SYNTAX                NotifyType = 7
	INVALID_MESSAGE_ID            NotifyType = 9
	INVALID_SPI                   NotifyType = 11
	NO_PROPOSAL_CHOSEN            NotifyType = 14
	INVALID_KE_PAYLOAD            NotifyType = 17
	AUTHENTICATION_FAILED         NotifyType = 24
	SINGLE_PAIR_REQUIRED          NotifyType = 34
	NO_ADDITIONAL_SAS             NotifyType = 35
	INTERNAL_ADDRESS_FAILURE      NotifyType = 36
	FAILED_CP_REQUIRED            NotifyType = 37
	TS_UNACCEPTABLE               NotifyType = 38
	INVALID_SELECTORS             NotifyType = 39
	UNACCEPTABLE_ADDRESSES        NotifyType = 40
	UNEXPECTED_NAT_DETECTED       NotifyType = 41
	TEMPORARY_FAILURE             NotifyType = 43
	CHILD_SA_NOT_FOUND            NotifyType = 44
	INITIAL_CONTACT               NotifyType = 16384
	SET_WINDOW_SIZE               NotifyType = 16385
	ADDITIONAL_TS_POSSIBLE        NotifyType = 16386
	IPCOMP_SUPPORTED              NotifyType = 16387
	NAT_DETECTION_SOURCE_IP       NotifyType = 16388
	NAT_DETECTION_DESTINATION_IP  NotifyType = 16389
	COOKIE                        NotifyType = 16390
	USE_TRANSPORT_MODE            NotifyType = 16391
	HTTP_CERT_LOOKUP_SUPPORTED    NotifyType = 16392
	REKEY_SA                      NotifyType = 16393
	ESP_TFC_PADDING_NOT_SUPPORTED NotifyType = 16394
	NON_FIRST_FRAGMENTS_ALSO      NotifyType = 16395
	MOBIKE_SUPPORTED              NotifyType = 16396
	ADDITIONAL_IP4_ADDRESS        NotifyType = 16397
	ADDITIONAL_IP6_ADDRESS        NotifyType = 16398
	NO_ADDITIONAL_ADDRESSES       NotifyType = 16399
	UPDATE_SA_ADDRESSES           NotifyType = 16400
	COOKIE2                       NotifyType = 16401
	NO_NATS_ALLOWED               NotifyType = 16402
	REDIRECT_SUPPORTED            NotifyType = 16406
	REDIRECT                      NotifyType = 16407
	REDIRECTED_FROM               NotifyType = 16408
	CHILDLESS_IKEV2_SUPPORTED     NotifyType = 16418
	IKEV2_FRAGMENTATION_SUPPORTED NotifyType = 16430
	SIGNATURE_HASH_ALGORITHMS     NotifyType = 16431
)

// Error reports whether the notification is an error, not a status.
func (n NotifyType) Error() bool { return n < 16384 }

var exchangeNames = map[ExchangeType]string{
	IKE_SA_INIT: "IKE_SA_INIT", IKE_AUTH: "IKE_AUTH", CREATE_CHILD_SA: "CREATE_CHILD_SA", INFORMATIONAL: "INFORMATIONAL",
}

func (t ExchangeType) String() string { return name(exchangeNames, t, "EXCHANGE_") }

var payloadNames = map[PayloadType]string{
	TypeNone: "NONE", TypeSA: "SA", TypeKE: "KE", TypeIDi: "IDi", TypeIDr: "IDr", TypeCERT: "CERT", TypeCERTREQ: "CERTREQ",
	TypeAUTH: "AUTH", TypeNonce: "NONCE", TypeNotify: "N", TypeDelete: "D", TypeVendorID: "V", TypeTSi: "TSi", TypeTSr: "TSr",
	TypeSK: "SK", TypeCP: "CP", TypeEAP: "EAP", TypeSKF: "SKF",
}

func (t PayloadType) String() string { return name(payloadNames, t, "PAYLOAD_") }

var protocolNames = map[ProtocolID]string{ProtoNone: "NONE", ProtoIKE: "IKE", ProtoAH: "AH", ProtoESP: "ESP"}

func (p ProtocolID) String() string { return name(protocolNames, p, "PROTOCOL_") }

var idNames = map[IDType]string{
	ID_IPV4_ADDR: "ID_IPV4_ADDR", ID_FQDN: "ID_FQDN", ID_RFC822_ADDR: "ID_RFC822_ADDR", ID_IPV6_ADDR: "ID_IPV6_ADDR",
	ID_DER_ASN1_DN: "ID_DER_ASN1_DN", ID_DER_ASN1_GN: "ID_DER_ASN1_GN", ID_KEY_ID: "ID_KEY_ID", ID_NULL: "ID_NULL",
}

func (t IDType) String() string { return name(idNames, t, "ID_") }

var notifyNames = map[NotifyType]string{
	UNSUPPORTED_CRITICAL_PAYLOAD: "UNSUPPORTED_CRITICAL_PAYLOAD", INVALID_IKE_SPI: "INVALID_IKE_SPI",
	INVALID_MAJOR_VERSION: "INVALID_MAJOR_VERSION", INVALID_SYNTAX: "INVALID_SYNTAX", INVALID_MESSAGE_ID: "INVALID_MESSAGE_ID",
	INVALID_SPI: "INVALID_SPI", NO_PROPOSAL_CHOSEN: "NO_PROPOSAL_CHOSEN", INVALID_KE_PAYLOAD: "INVALID_KE_PAYLOAD",
	AUTHENTICATION_FAILED: "AUTHENTICATION_FAILED", SINGLE_PAIR_REQUIRED: "SINGLE_PAIR_REQUIRED",
	NO_ADDITIONAL_SAS: "NO_ADDITIONAL_SAS", INTERNAL_ADDRESS_FAILURE: "INTERNAL_ADDRESS_FAILURE",
	FAILED_CP_REQUIRED: "FAILED_CP_REQUIRED", TS_UNACCEPTABLE: "TS_UNACCEPTABLE", INVALID_SELECTORS: "INVALID_SELECTORS",
	UNACCEPTABLE_ADDRESSES: "UNACCEPTABLE_ADDRESSES", UNEXPECTED_NAT_DETECTED: "UNEXPECTED_NAT_DETECTED",
	ADDITIONAL_IP4_ADDRESS: "ADDITIONAL_IP4_ADDRESS", ADDITIONAL_IP6_ADDRESS: "ADDITIONAL_IP6_ADDRESS",
	NO_ADDITIONAL_ADDRESSES: "NO_ADDITIONAL_ADDRESSES", UPDATE_SA_ADDRESSES: "UPDATE_SA_ADDRESSES", COOKIE2: "COOKIE2",
	NO_NATS_ALLOWED:   "NO_NATS_ALLOWED",
	TEMPORARY_FAILURE: "TEMPORARY_FAILURE", CHILD_SA_NOT_FOUND: "CHILD_SA_NOT_FOUND", INITIAL_CONTACT: "INITIAL_CONTACT",
	SET_WINDOW_SIZE: "SET_WINDOW_SIZE", ADDITIONAL_TS_POSSIBLE: "ADDITIONAL_TS_POSSIBLE", IPCOMP_SUPPORTED: "IPCOMP_SUPPORTED",
	NAT_DETECTION_SOURCE_IP: "NAT_DETECTION_SOURCE_IP", NAT_DETECTION_DESTINATION_IP: "NAT_DETECTION_DESTINATION_IP",
	COOKIE: "COOKIE", USE_TRANSPORT_MODE: "USE_TRANSPORT_MODE", HTTP_CERT_LOOKUP_SUPPORTED: "HTTP_CERT_LOOKUP_SUPPORTED",
	REKEY_SA: "REKEY_SA", ESP_TFC_PADDING_NOT_SUPPORTED: "ESP_TFC_PADDING_NOT_SUPPORTED",
	NON_FIRST_FRAGMENTS_ALSO: "NON_FIRST_FRAGMENTS_ALSO", MOBIKE_SUPPORTED: "MOBIKE_SUPPORTED",
	REDIRECT_SUPPORTED: "REDIRECT_SUPPORTED", REDIRECT: "REDIRECT", REDIRECTED_FROM: "REDIRECTED_FROM",
	CHILDLESS_IKEV2_SUPPORTED: "CHILDLESS_IKEV2_SUPPORTED", IKEV2_FRAGMENTATION_SUPPORTED: "IKEV2_FRAGMENTATION_SUPPORTED",
	SIGNATURE_HASH_ALGORITHMS: "SIGNATURE_HASH_ALGORITHMS",
}

func (n NotifyType) String() string { return name(notifyNames, n, "NOTIFY_") }

var authNames = map[AuthMethod]string{
	AuthRSASignature: "RSA", AuthSharedKey: "PSK", AuthDSSSignature: "DSS", AuthECDSA256: "ECDSA-256",
	AuthECDSA384: "ECDSA-384", AuthECDSA521: "ECDSA-521", AuthNull: "NULL", AuthDigitalSignature: "SIGNATURE",
}

func (m AuthMethod) String() string { return name(authNames, m, "AUTH_") }

func name[T ~uint8 | ~uint16](names map[T]string, v T, prefix string) string {
	if s, ok := names[v]; ok {
		return s
	}
	return prefix + strconv.Itoa(int(v))
}
