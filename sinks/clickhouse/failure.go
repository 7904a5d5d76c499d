package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// clientError is a value that the client could not encode: another attempt can't help.
type clientError struct{ err error }

func (e *clientError) Error() string { return e.err.Error() }
func (e *clientError) Unwrap() error { return e.err }

// temporary tells whether another attempt may succeed. What the server didn't say itself comes from the network.
func temporary(err error) bool {
	var client *clientError
	if errors.As(err, &client) {
		return false
	}
	var exception *clickhouse.Exception
	if !errors.As(err, &exception) {
		return !errors.Is(err, context.Canceled)
	}
	return slices.Contains(temporaryCodes(), exception.Code)
}

// temporaryCodes are ClickHouse's names for "not now".
func temporaryCodes() []int32 {
	return []int32{
		3,    // UNEXPECTED_END_OF_FILE
		23,   // CANNOT_READ_FROM_ISTREAM
		24,   // CANNOT_WRITE_TO_OSTREAM
		32,   // ATTEMPT_TO_READ_AFTER_EOF
		74,   // CANNOT_READ_FROM_FILE_DESCRIPTOR
		75,   // CANNOT_WRITE_TO_FILE_DESCRIPTOR
		76,   // CANNOT_OPEN_FILE
		159,  // TIMEOUT_EXCEEDED
		160,  // TOO_SLOW
		198,  // DNS_ERROR
		202,  // TOO_MANY_SIMULTANEOUS_QUERIES
		203,  // NO_FREE_CONNECTION
		209,  // SOCKET_TIMEOUT
		210,  // NETWORK_ERROR
		236,  // ABORTED: the server is shutting down
		241,  // MEMORY_LIMIT_EXCEEDED
		242,  // TABLE_IS_READ_ONLY
		243,  // NOT_ENOUGH_SPACE
		252,  // TOO_MANY_PARTS
		279,  // ALL_CONNECTION_TRIES_FAILED
		285,  // TOO_FEW_LIVE_REPLICAS
		286,  // UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
		319,  // UNKNOWN_STATUS_OF_INSERT
		394,  // QUERY_WAS_CANCELLED
		425,  // SYSTEM_ERROR
		439,  // CANNOT_SCHEDULE_TASK
		473,  // DEADLOCK_AVOIDED
		499,  // S3_ERROR
		517,  // CANNOT_ASSIGN_ALTER
		574,  // DISTRIBUTED_TOO_MANY_PENDING_BYTES
		735,  // QUERY_WAS_CANCELLED_BY_CLIENT
		745,  // SERVER_OVERLOADED
		999,  // KEEPER_EXCEPTION
		1000, // POCO_EXCEPTION: files and the network
		1001, // STD_EXCEPTION: a file system's
		1002, // UNKNOWN_EXCEPTION
	}
}

// aboutRows tells whether the server refused what the rows hold: it would do so however often they are sent.
func aboutRows(err error) bool {
	var exception *clickhouse.Exception
	return errors.As(err, &exception) && slices.Contains(rowCodes(), exception.Code)
}

// rowCodes are what ClickHouse says of values that it can't parse or keep.
func rowCodes() []int32 {
	return []int32{
		6,   // CANNOT_PARSE_TEXT
		15,  // DUPLICATE_COLUMN: a path that comes twice
		25,  // CANNOT_PARSE_ESCAPE_SEQUENCE
		26,  // CANNOT_PARSE_QUOTED_STRING
		27,  // CANNOT_PARSE_INPUT_ASSERTION_FAILED
		38,  // CANNOT_PARSE_DATE
		41,  // CANNOT_PARSE_DATETIME
		43,  // ILLEGAL_TYPE_OF_ARGUMENT
		48,  // NOT_IMPLEMENTED: of a value's kind
		49,  // LOGICAL_ERROR: a defect of its own, which such a value may hit each time
		53,  // TYPE_MISMATCH
		69,  // ARGUMENT_OUT_OF_BOUND
		70,  // CANNOT_CONVERT_TYPE
		72,  // CANNOT_PARSE_NUMBER
		117, // INCORRECT_DATA
		128, // TOO_LARGE_ARRAY_SIZE
		130, // CANNOT_READ_ARRAY_FROM_TEXT
		131, // TOO_LARGE_STRING_SIZE
		190, // SIZES_OF_ARRAYS_DONT_MATCH
		306, // TOO_DEEP_RECURSION
		321, // VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
		349, // CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
		386, // NO_COMMON_TYPE
		407, // DECIMAL_OVERFLOW
		467, // CANNOT_PARSE_BOOL
		632, // UNEXPECTED_DATA_AFTER_PARSED_VALUE
	}
}

// hint is what to do about an error that lasts.
func hint(err error) string {
	var client *clientError
	var exception *clickhouse.Exception
	switch {
	case errors.As(err, &client):
		return "this is a defect of the sink: report it with this message"
	case !errors.As(err, &exception):
		return "check that ClickHouse runs there, and that the DSN has its native port, by default 9000"
	}
	switch exception.Code {
	case 516, 192, 193, 194: // AUTHENTICATION_FAILED and its elders
		return "check the DSN's user and password"
	case 164, 497: // READONLY, ACCESS_DENIED
		return "grant the DSN's user SELECT, INSERT, CREATE, ALTER and DROP on the database"
	case 60, 81: // UNKNOWN_TABLE, UNKNOWN_DATABASE
		return "the table was dropped or renamed: a restart makes missing databases, not tables that were there before; restore it"
	case 10, 16, 8, 44: // NOT_FOUND_COLUMN_IN_BLOCK, NO_SUCH_COLUMN_IN_TABLE, ...
		return "the table's columns were changed by hand: undo that"
	case 115: // UNKNOWN_SETTING
		return "the server is too old: use ClickHouse 25.8 or newer"
	}
	if aboutRows(err) {
		return "a value does not fit its column: compare the table with what SHOW CREATE TABLE says in a fresh database"
	}
	return "see ClickHouse's message"
}

// plain says the server's own words and code, or the error as it is.
func plain(err error) error {
	var exception *clickhouse.Exception
	if !errors.As(err, &exception) {
		return err
	}
	return &serverError{exception}
}

// serverError prints an exception in one line; it unwraps to it.
type serverError struct{ exception *clickhouse.Exception }

func (e *serverError) Error() string {
	return fmt.Sprintf("clickhouse: code %d: %s", e.exception.Code, e.exception.Message)
}
func (e *serverError) Unwrap() error { return e.exception }
