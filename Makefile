# takd: make run, make demo, make test. See README.md.
.DEFAULT_GOAL := help
SHELL         := /bin/bash
VERSION       ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
DATA          ?= ./takd-data
HOST          ?=
CLIENTS       ?= 20
FUZZTIME      ?= 20s
SOAK          ?= 30m
COUNT         ?= 6
BUILD         := go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)"
NODE          := http/clienttest
UI            := http/ui
TOOL          := go tool -modfile=.ci/tools.mod

.PHONY: run engine build ui test race lint node-tak gen bench bench-quick bench-api bench-history bench-web bench-build bench-go soak demo fuzz dist clean help

# The first run asks in a browser where there is a desktop (SETUP=1 for anywhere), and asks nothing where there is none.
SETUP         ?= $(if $(DISPLAY)$(WAYLAND_DISPLAY),1)

run: build ## build takd and run it; the first run makes ./takd-data, on a desktop with a page in the browser
	@.ci/engine --try
	./bin/takd run $(if $(SETUP),--hello,--init) --data $(DATA)

engine: ## fetch the history engine (ClickHouse's library) into the user's cache
	@.ci/engine

build: ui ## build bin/takd and bin/takload, with the web page
	$(BUILD) -o bin/ ./cmd/takd ./bench/takload

ui: $(UI)/dist/app/index.html.gz ## build the web page that takd has in it

$(UI)/dist/app/index.html.gz: $(UI)/node_modules/.installed $(shell find $(UI)/src -type f) $(UI)/index.html $(UI)/vite.config.ts $(UI)/tsconfig.json
	cd $(UI) && npm run --silent build

$(UI)/node_modules/.installed: $(UI)/package-lock.json
	cd $(UI) && npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel error && touch node_modules/.installed

demo: build ## simulated clients walk and chat on the server that make run started
	@test -S $(DATA)/run/takd.sock || { echo "no server is running on $(DATA): start it with make run"; exit 1; }
	@test -f $(DATA)/demo/demo.pem || ./bin/takd cert issue demo --out $(DATA)/demo --data $(DATA)
	./bin/takload demo --clients $(CLIENTS) --certs $(DATA)/demo $(if $(ADDR),--addr $(ADDR))

test: engine ui ## everything CI checks: build, vet, lint, tests with the race detector
	go build ./...
	go vet ./...
	$(MAKE) --no-print-directory lint
	$(MAKE) --no-print-directory node-tak
	@.ci/clients
	go test -race ./...
	go test -run 'Allocate' ./cot/... ./netcore/... # the race detector allocates by itself

node-tak: ## install node-tak, the client library of CloudTAK, for its test
	@if [ ! -d $(NODE)/node_modules ] || [ $(NODE)/package-lock.json -nt $(NODE)/node_modules ]; then \
	  cd $(NODE) && npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel error && touch node_modules; fi

race: engine ## tests with the race detector only
	go test -race -count=1 ./...

lint: ## golangci-lint, the pinned version
	$(TOOL) golangci-lint run ./...

gen: ## generate code (needs protoc)
	go generate ./...

bench: bench-build ## the standard set of load scenarios, about 10 minutes; writes BENCHMARKS.md
	./bin/standard --bin ./bin

bench-quick: bench-build ## the same in 2 minutes: a first look, not a measurement
	./bin/standard --bin ./bin --quick

bench-api: bench-build ## the HTTP API, about 6 minutes; writes BENCHMARKS.md
	./bin/standard api --bin ./bin

bench-history: bench-build engine ## what recording costs the stream, about 8 minutes; writes BENCHMARKS.md
	./bin/standard history --bin ./bin

bench-web: build ## the map page in Chromium with 10,000 and 100,000 tracks, about a minute; writes BENCHMARKS.md
	node $(UI)/browser/figures.mjs BENCHMARKS.md

soak: bench-build ## load, joins, leaves, group changes and revocations for SOAK (30m); fails on any loss or leak
	./bin/standard soak --bin ./bin --duration $(SOAK)

bench-build: build
	$(BUILD) -o bin/ ./bench/hub ./bench/standard

bench-go: ## benchmarks in the packages; compare two runs with benchstat
	go test -run '^$$' -bench . -benchmem -count $(COUNT) ./cot/... ./netcore/...

fuzz: ## every fuzz test for FUZZTIME
	@set -euo pipefail; for f in $$(grep -rl --include='*_test.go' '^func Fuzz' . | sort); do \
	  for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$f); do \
	    echo "== $$(dirname $$f) $$name"; go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) $$(dirname $$f); done; done

dist: ui ## static binaries for linux in dist/
	@mkdir -p dist
	@for arch in amd64 arm64; do \
	  dir=dist/takd-$(VERSION)-linux-$$arch; mkdir -p $$dir; \
	  CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(BUILD) -o $$dir/ ./cmd/takd ./bench/takload || exit 1; \
	  cp README.md LICENSE CHANGELOG.md $$dir/; tar -C dist -czf $$dir.tar.gz $$(basename $$dir); done
	@cd dist && sha256sum *.tar.gz > SHA256SUMS && cat SHA256SUMS

clean: ## remove what was built; the data directory stays
	rm -rf bin dist $(UI)/dist/app

help: ## this text
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
