// The transformation of many languages, in Go. The bindings beside it are generated when it is built.
package export_trellis_plugin_transformer

import (
	"encoding/json"
	"fmt"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
	events "wit_component/trellis_plugin_events"
	storage "wit_component/trellis_plugin_storage"
	web "wit_component/trellis_plugin_web"
	logging "wit_component/wasi_logging_logging"
)

const description = `{
	"title": "Multiply",
	"summary": "Multiplies a reading.",
	"inputs": { "in": { "schema": {
		"type": "object", "required": ["n"], "properties": { "n": { "type": "integer" }, "url": { "type": "string" } }
	} } },
	"outputs": { "out": { "schema": {
		"type": "object", "required": ["n"], "properties": { "n": { "type": "integer" }, "status": { "type": "integer" } }
	} } },
	"config": {
		"type": "object", "required": ["factor"], "properties": { "factor": { "type": "integer" } },
		"additionalProperties": false
	}
}`

type reading struct {
	N   json.RawMessage `json:"n"`
	Url *string         `json:"url"`
}

type config struct {
	Factor int64 `json:"factor"`
}

type product struct {
	N      int64   `json:"n"`
	Status *uint16 `json:"status,omitempty"`
}

type outcome = witTypes.Result[[]events.Emission, events.Failure]

func failed(failure events.Failure) outcome {
	return witTypes.Err[[]events.Emission, events.Failure](failure)
}

func Describe() string {
	return description
}

func Transform(event events.Event, configText string) outcome {
	var input reading
	for _, port := range event.Inputs {
		if port.F0 == "in" {
			if err := json.Unmarshal([]byte(port.F1), &input); err != nil {
				return failed(events.MakeFailureInvalidInput(err.Error()))
			}
		}
	}
	var n int64
	if json.Unmarshal(input.N, &n) != nil {
		return failed(events.MakeFailureInvalidInput("`n` is no integer"))
	}
	var settings config
	if err := json.Unmarshal([]byte(configText), &settings); err != nil {
		return failed(events.MakeFailureInvalidConfig(err.Error()))
	}
	logging.Log(logging.Level_Info, "", fmt.Sprintf("n = %d", n))
	result := product{N: n * settings.Factor}
	if input.Url != nil {
		status, failure := ask(*input.Url)
		if failure != nil {
			return failed(*failure)
		}
		result.Status = &status
	}
	if added := storage.Add("s", "calls", 1); added.IsErr() {
		return failed(events.MakeFailurePermanent("the store refused"))
	}
	data, err := json.Marshal(result)
	if err != nil {
		return failed(events.MakeFailurePermanent(err.Error()))
	}
	return witTypes.Ok[[]events.Emission, events.Failure]([]events.Emission{{Port: "out", Data: string(data)}})
}

func ask(url string) (uint16, *events.Failure) {
	answer := web.Fetch(web.Request{Method: "GET", Url: url, Body: witTypes.None[[]uint8](), TimeoutMs: witTypes.None[uint32]()})
	message := "the service did not answer"
	if answer.IsOk() {
		if status := answer.Ok().Status; status == 200 {
			return status, nil
		} else {
			message = fmt.Sprintf("the service answered %d", status)
		}
	}
	failure := events.MakeFailureRetryable(events.Retry{Message: message, AfterMs: witTypes.None[uint64]()})
	return 0, &failure
}
