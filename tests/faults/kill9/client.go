package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// object is a JSON object to send or that was received.
type object = map[string]any

// client speaks to the server under one token.
type client struct {
	address, token string
	http           *http.Client
}

func newClient(address, token string, connections int) *client {
	transport := &http.Transport{MaxIdleConnsPerHost: connections, DisableCompression: true}
	return &client{address: address, token: token, http: &http.Client{Transport: transport, Timeout: 30 * time.Second}}
}

// as is the same connections under another token.
func (c *client) as(token string) *client {
	return &client{address: c.address, token: token, http: c.http}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// answer is what came back; status 0 means that nothing whole did.
type answer struct {
	request string
	status  int
	body    object
	raw     string
}

// do sends one request. A network error, or an answer that breaks off, is an answer with status 0.
func (c *client) do(method, path string, body any) answer {
	result := answer{request: method + " " + path}
	var sent io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			panic(err)
		}
		sent = bytes.NewReader(encoded)
	}
	request, err := http.NewRequest(method, c.address+"/v1/"+path, sent)
	if err != nil {
		panic(err)
	}
	if c.token != "" {
		request.Header.Set("X-Vault-Token", c.token)
	}
	// net/http sends a request again by itself when the connection turns out to be closed and the method has no
	// effect. Every attempt here must be counted: a body that cannot be read twice forbids it.
	request.GetBody = nil
	response, err := c.http.Do(request)
	if err != nil {
		result.raw = err.Error()
		return result
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		result.raw = err.Error()
		return result
	}
	if len(raw) > 0 && json.Unmarshal(raw, &result.body) != nil {
		result.raw = "not JSON: " + string(raw)
		return result
	}
	result.status, result.raw = response.StatusCode, string(raw)
	return result
}

// acknowledged: the server said that it is done.
func (a answer) acknowledged() bool { return a.status >= 200 && a.status < 300 }

// open: what the request did is not known.
func (a answer) open() bool { return a.status == 0 || a.status >= 500 }

func (a answer) failure() error {
	return fmt.Errorf("%s: status %d: %s", a.request, a.status, a.raw)
}

// at follows keys into the body; nil where the way ends.
func (a answer) at(keys ...string) any {
	var here any = a.body
	for _, key := range keys {
		inner, _ := here.(object)
		here = inner[key]
	}
	return here
}

func (a answer) text(keys ...string) string {
	text, _ := a.at(keys...).(string)
	return text
}

func (a answer) number(keys ...string) int {
	number, _ := a.at(keys...).(float64)
	return int(number)
}

func (a answer) strings(keys ...string) []string {
	list, _ := a.at(keys...).([]any)
	result := make([]string, 0, len(list))
	for _, item := range list {
		if text, ok := item.(string); ok {
			result = append(result, text)
		}
	}
	return result
}

// parallel calls `each` for every item, some at a time, and returns the first error.
func parallel[T any](items []T, each func(T) error) error {
	const workers = 12
	var group sync.WaitGroup
	var once sync.Once
	var first error
	next := make(chan T)
	for range workers {
		group.Go(func() {
			for item := range next {
				if err := each(item); err != nil {
					once.Do(func() { first = err })
				}
			}
		})
	}
	for _, item := range items {
		next <- item
	}
	close(next)
	group.Wait()
	return first
}
