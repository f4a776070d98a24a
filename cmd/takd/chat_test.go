package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// chatting has a page of the feed join the chat, and returns its user's uid.
func (f *feed) chatting(w *world) string {
	w.Helper()
	f.send(map[string]any{"t": "chat"})
	f.shows(w, `{"t":"chat","uid":"WEB-`)
	_, uid, _ := strings.Cut(f.text.String(), `{"t":"chat","uid":"`)
	uid, _, _ = strings.Cut(uid, `"`)
	return uid
}

// Who chats on a page is a contact like others: what he says reaches those whom it is
// for, and nobody else; what reached somebody, or nobody, he is told.
func TestChatOnAPage(t *testing.T) {
	t.Parallel()
	w := start(t)
	groups := map[string]string{"alice": "Blue", "ann": "Blue", "bob": "Blue", "quiet": "Blue", "eve": "Red", "red": "Red"}
	for name, group := range groups {
		w.takd("user", "add", name, "--group", group)
	}
	w.takd("user", "add", "reader", "--group", "Blue", "--role", "readonly")
	alice, eve := w.connect("alice", w.certificate("alice")), w.connect("eve", w.certificate("eve"))
	certs := map[string]*browser{}
	pages := map[string]*feed{}
	uids := map[string]string{}
	for _, name := range []string{"ann", "bob", "red"} {
		cert := w.certificate(name)
		certs[name], pages[name] = w.browser(cert), w.watch(cert)
		uids[name] = pages[name].chatting(w)
	}
	say := func(name string, status int, v map[string]any) {
		t.Helper()
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		certs[name].want(status, "POST", "https", "/api/v1/chat", "", string(b))
	}
	alice.receives(`callsign="ann"`)
	if strings.Contains(eve.in.String(), `callsign="ann"`) {
		t.Error("eve of Red sees ann of Blue")
	}

	const hostile = `to all: <b>"&'</detail></event> ]]> ` + "\n" + `second line`
	say("ann", 200, map[string]any{"room": "All Chat Rooms", "text": hostile})
	alice.receives(`to all: &lt;b&gt;`)
	quoted, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	pages["bob"].shows(w, `"text":`+string(quoted))
	pages["ann"].shows(w, `"mine":true`)
	say("ann", 200, map[string]any{"room": uids["bob"], "name": "bob", "to": []string{uids["bob"]}, "text": "for bob alone"})
	pages["bob"].shows(w, `"text":"for bob alone"`)
	pages["ann"].shows(w, `"state":"delivered"`)
	say("ann", 200, map[string]any{"room": "All Chat Rooms", "groups": []string{"Blue"}, "text": "for Blue"})
	alice.receives("for Blue")

	alice.say("GeoChat.UID-alice."+uids["ann"]+".m1", "b-t-f", `<__chat parent="RootContactGroup" groupOwner="false" messageId="m1" chatroom="ann" id="`+uids["ann"]+`" senderCallsign="CS-alice"><chatgrp uid0="UID-alice" uid1="`+
		uids["ann"]+`" id="`+uids["ann"]+`"/></__chat><link uid="UID-alice" type="a-f-G-U-C" relation="p-p"/><remarks source="BAO.F.ATAK.UID-alice">hello &lt;ann&gt;</remarks><marti><dest callsign="ann"/></marti>`)
	pages["ann"].shows(w, `"id":"m1","room":"UID-alice","name":"CS-alice","uid":"UID-alice","callsign":"CS-alice","text":"hello \u003cann\u003e"`)
	alice.receives(`b-t-f-d`)

	say("red", 200, map[string]any{"room": "UID-alice", "to": []string{"UID-alice"}, "text": "across"})
	pages["red"].shows(w, `"state":"failed"`)
	say("red", 200, map[string]any{"room": "All Chat Rooms", "text": "in red"})
	eve.receives("in red")
	if got := alice.in.String(); strings.Contains(got, "for bob alone") || strings.Contains(got, "across") || strings.Contains(got, "in red") {
		t.Errorf("alice has %s", got)
	}
	if got := eve.in.String() + pages["red"].text.String(); strings.Contains(got, "to all") || strings.Contains(got, "for Blue") || strings.Contains(got, "bob") || strings.Contains(got, "ann") {
		t.Errorf("Red has %s", got)
	}
	if got := pages["bob"].text.String(); strings.Contains(got, "hello") || strings.Contains(got, "in red") || strings.Contains(got, `"lat"`) {
		t.Errorf("bob has %s", got)
	}

	for name, bad := range map[string]map[string]any{
		"no text": {"room": "All Chat Rooms", "text": " "}, "long": {"room": "All Chat Rooms", "text": strings.Repeat("x", 4097)}, "nobody": {"room": "x", "text": "x"}, "no room": {"text": "x"},
		"many": {"room": "x", "text": "x", "to": make([]string, 201)}, "no uid": {"room": "x", "text": "x", "to": []string{""}}, "both": {"room": "x", "text": "x", "to": []string{"x"}, "groups": []string{"Blue"}},
	} {
		t.Log(name)
		say("ann", 400, bad)
	}
	say("ann", 403, map[string]any{"room": "All Chat Rooms", "text": "x", "groups": []string{"Red"}})
	for name, status := range map[string]int{"quiet": 409, "reader": 403} {
		certs[name] = w.browser(w.certificate(name))
		say(name, status, map[string]any{"room": "All Chat Rooms", "text": "x"})
	}

	// Who closes his page is gone, and gets later what came meanwhile.
	_ = pages["ann"].c.Close()
	alice.receives(`<link relation="p-p" uid="` + uids["ann"]) // not that of what ann has said
	alice.say("GeoChat.UID-alice.x.m2", "b-t-f", `<__chat messageId="m2" chatroom="ann" id="`+uids["ann"]+`" senderCallsign="CS-alice"/><link uid="UID-alice"/><remarks>while away</remarks><marti><dest callsign="ann"/></marti>`)
	alice.position()
	time.Sleep(200 * time.Millisecond)
	again := w.watch(w.certificate("ann"))
	again.chatting(w)
	again.shows(w, "while away")
	w.takd("user", "disable", "ann")
	select {
	case <-again.done:
	case <-time.After(patience):
		t.Fatal("who is disabled still chats")
	}
}

// Two users chat in real browsers, with each other and with a phone.
func TestChatInChromium(t *testing.T) {
	t.Parallel()
	builtPage(t)
	w := record(t)
	secret := w.secretFile("a good password")
	for name, group := range map[string]string{"ann": "Blue", "bob": "Blue", "red": "Red"} {
		w.takd("user", "add", name, "--group", group, "--password-file", secret)
	}
	w.takd("user", "add", "alice", "--group", "Blue")
	alice := w.connect("alice", w.certificate("alice"))
	alice.position()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	browse(ctx, t, "chat.mjs", map[string]string{"enroll": w.site("enroll"), "password": "a good password"}).end()
	alice.receives("from the map")
	if got := alice.in.String(); strings.Contains(got, "for bob alone") {
		t.Errorf("alice has %s", got)
	}
}
