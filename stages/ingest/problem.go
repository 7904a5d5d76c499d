package ingest

import "fmt"

// The error codes. Those of one event are the reasons in the dead letters too. The first group is Segment's own.
const (
	codeNoID               = "no_user_anon_id"
	codeEventNotDefined    = "event_not_defined"
	codeEventNotString     = "event_not_string"
	codePropertiesNoObject = "properties_not_object"
	codeTraitsNoObject     = "traits_not_object"
	codeEmptyBatch         = "empty_batch"
	codeTooManyRequests    = "too_many_requests"

	codeContextNoObject      = "context_not_object"
	codeIntegrationsNoObject = "integrations_not_object"
	codeGroupIDNotDefined    = "group_id_not_defined"
	codePreviousIDNotDefined = "previous_id_not_defined"
	codeUserIDNotDefined     = "user_id_not_defined"
	codeIDNotString          = "id_not_string"
	codeIDTooLong            = "id_too_long"
	codeTypeNotKnown         = "type_not_known"
	codeNotObject            = "not_object"
	codeEventTooLarge        = "event_too_large"

	codeInvalidJSON      = "invalid_json"
	codeInvalidGzip      = "invalid_gzip"
	codeInvalidParameter = "invalid_parameter"
	codeBodyUnreadable   = "body_unreadable"
	codeBodyTooSlow      = "body_too_slow"
	codeEncoding         = "encoding_not_supported"
	codePayloadTooLarge  = "payload_too_large"
	codeTooManyEvents    = "too_many_events"
	codeBatchNotArray    = "batch_not_array"
	codeInvalidEvents    = "invalid_events"
	codeInvalidWriteKey  = "invalid_write_key"
	codeNotAuthenticated = "not_authenticated"
	codeNotFound         = "not_found"
	codeMethod           = "method_not_allowed"
	codeUnavailable      = "unavailable"
)

// problem is one thing that is wrong with what a client sent, told in a way that helps to mend it. It holds no
// value of a field: those may be personal.
type problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Field   string `json:"field,omitempty"`
}

func (p *problem) Error() string { return p.Message }

func wrong(code, field, format string, args ...any) *problem {
	return &problem{Code: code, Field: field, Message: fmt.Sprintf(format, args...)}
}

// eventProblem is a problem of the event at Index in a strict batch.
type eventProblem struct {
	Index int `json:"index"`
	*problem
}
