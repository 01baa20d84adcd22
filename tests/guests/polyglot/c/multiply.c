// The transformation of many languages, in C. `plugin.h` is generated when it is built.
//
// What little it needs of JSON it reads itself: the value behind a key of a flat object.
#include "plugin.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char DESCRIPTION[] =
    "{\"title\":\"Multiply\",\"summary\":\"Multiplies a reading.\","
    "\"inputs\":{\"in\":{\"schema\":{\"type\":\"object\",\"required\":[\"n\"],"
    "\"properties\":{\"n\":{\"type\":\"integer\"},\"url\":{\"type\":\"string\"}}}}},"
    "\"outputs\":{\"out\":{\"schema\":{\"type\":\"object\",\"required\":[\"n\"],"
    "\"properties\":{\"n\":{\"type\":\"integer\"},\"status\":{\"type\":\"integer\"}}}}},"
    "\"config\":{\"type\":\"object\",\"required\":[\"factor\"],"
    "\"properties\":{\"factor\":{\"type\":\"integer\"}},\"additionalProperties\":false}}";

// Where the value behind a key begins; NULL if there is no such key. The text ends with a NUL.
static const char *value_of(const char *json, const char *key) {
  size_t length = strlen(key);
  for (const char *at = json; (at = strchr(at, '"')) != NULL;) {
    const char *name = ++at;
    while (*at != '"' && *at != '\0') {
      at += at[0] == '\\' && at[1] != '\0' ? 2 : 1;
    }
    if (*at == '\0') {
      return NULL;
    }
    size_t name_length = (size_t)(at++ - name);
    while (isspace((unsigned char)*at)) {
      at++;
    }
    // Without a colon behind it, it was a value.
    if (*at != ':') {
      continue;
    }
    do {
      at++;
    } while (isspace((unsigned char)*at));
    if (name_length == length && memcmp(name, key, length) == 0) {
      return at;
    }
    // A string is stepped over here, lest it be taken for a key.
    if (*at == '"') {
      for (at++; *at != '"' && *at != '\0';) {
        at += at[0] == '\\' && at[1] != '\0' ? 2 : 1;
      }
      at += *at == '"';
    }
  }
  return NULL;
}

static bool integer_of(const char *json, const char *key, long long *value) {
  const char *begin = value_of(json, key);
  if (begin == NULL || !(isdigit((unsigned char)*begin) || *begin == '-')) {
    return false;
  }
  char *end;
  *value = strtoll(begin, &end, 10);
  return *end != '.' && *end != 'e' && *end != 'E';
}

// A copy that ends with a NUL.
static char *text_of(const plugin_string_t *string) {
  char *text = malloc(string->len + 1);
  memcpy(text, string->ptr, string->len);
  text[string->len] = '\0';
  return text;
}

static plugin_string_t string_of(const char *text) {
  plugin_string_t string;
  plugin_string_dup(&string, text);
  return string;
}

// Asks the service, if the input names one. Without a message, `status` is what it said, or 0 if there is none.
static bool ask(const char *input, uint16_t *status, char *message, size_t message_size) {
  const char *begin = value_of(input, "url");
  *status = 0;
  if (begin == NULL || *begin != '"') {
    return true;
  }
  const char *end = strchr(++begin, '"');
  trellis_plugin_web_request_t request = {0};
  request.method = (plugin_string_t){(uint8_t *)"GET", 3};
  request.url = (plugin_string_t){(uint8_t *)begin, (size_t)(end - begin)};
  trellis_plugin_web_response_t response;
  trellis_plugin_web_web_error_t error;
  if (!trellis_plugin_web_fetch(&request, &response, &error)) {
    trellis_plugin_web_web_error_free(&error);
    snprintf(message, message_size, "the service did not answer");
    return false;
  }
  *status = response.status;
  trellis_plugin_web_response_free(&response);
  if (*status != 200) {
    snprintf(message, message_size, "the service answered %u", (unsigned)*status);
    return false;
  }
  return true;
}

static bool fail(trellis_plugin_events_failure_t *failure, uint8_t tag, const char *message) {
  memset(failure, 0, sizeof *failure);
  failure->tag = tag;
  plugin_string_t text = string_of(message);
  if (tag == TRELLIS_PLUGIN_EVENTS_FAILURE_RETRYABLE) {
    failure->val.retryable.message = text;
  } else {
    failure->val.permanent = text;
  }
  return false;
}

static bool multiply(const char *input, const char *config, char *output, size_t output_size,
                     trellis_plugin_events_failure_t *failure) {
  long long n, factor;
  if (!integer_of(input, "n", &n)) {
    return fail(failure, TRELLIS_PLUGIN_EVENTS_FAILURE_INVALID_INPUT, "`n` is no integer");
  }
  if (!integer_of(config, "factor", &factor)) {
    return fail(failure, TRELLIS_PLUGIN_EVENTS_FAILURE_INVALID_CONFIG, "`factor` is no integer");
  }
  char message[64];
  int length = snprintf(message, sizeof message, "n = %lld", n);
  plugin_string_t context = {(uint8_t *)"", 0}, line = {(uint8_t *)message, (size_t)length};
  wasi_logging_logging_log(WASI_LOGGING_LOGGING_LEVEL_INFO, &context, &line);
  uint16_t status;
  if (!ask(input, &status, message, sizeof message)) {
    return fail(failure, TRELLIS_PLUGIN_EVENTS_FAILURE_RETRYABLE, message);
  }
  plugin_string_t store = {(uint8_t *)"s", 1}, key = {(uint8_t *)"calls", 5};
  trellis_plugin_storage_storage_error_t refused;
  if (!trellis_plugin_storage_add(&store, &key, 1, &refused)) {
    trellis_plugin_storage_storage_error_free(&refused);
    return fail(failure, TRELLIS_PLUGIN_EVENTS_FAILURE_PERMANENT, "the store refused");
  }
  if (status == 0) {
    snprintf(output, output_size, "{\"n\":%lld}", n * factor);
  } else {
    snprintf(output, output_size, "{\"n\":%lld,\"status\":%u}", n * factor, (unsigned)status);
  }
  return true;
}

void exports_trellis_plugin_transformer_describe(exports_trellis_plugin_transformer_json_t *ret) {
  *ret = string_of(DESCRIPTION);
}

bool exports_trellis_plugin_transformer_transform(exports_trellis_plugin_transformer_event_t *event,
                                                  exports_trellis_plugin_transformer_json_t *config,
                                                  exports_trellis_plugin_transformer_list_emission_t *ret,
                                                  exports_trellis_plugin_transformer_failure_t *err) {
  char *input = NULL, *settings = text_of(config);
  for (size_t at = 0; at < event->inputs.len; at++) {
    plugin_string_t *port = &event->inputs.ptr[at].f0;
    if (input == NULL && port->len == 2 && memcmp(port->ptr, "in", 2) == 0) {
      input = text_of(&event->inputs.ptr[at].f1);
    }
  }
  char output[128];
  bool is_done = multiply(input == NULL ? "" : input, settings, output, sizeof output, err);
  free(input);
  free(settings);
  exports_trellis_plugin_transformer_event_free(event);
  plugin_string_free(config);
  if (is_done) {
    ret->len = 1;
    ret->ptr = malloc(sizeof *ret->ptr);
    ret->ptr[0].port = string_of("out");
    ret->ptr[0].data = string_of(output);
  }
  return is_done;
}
