# "make run" and "make test" need only Go and bash. "make help" lists all targets.

GOLANGCI_LINT = v2.15.0
LINTER = bin/golangci-lint-$(GOLANGCI_LINT)
GOVULNCHECK = v1.9.0
AUDITOR = bin/govulncheck-$(GOVULNCHECK)
VULNDB ?= https://vuln.go.dev
FUZZTIME ?= 10s
PEERS = fio gcc g++ isal libdeflate-tools mariadb-server nginx-light tabix wrk zstd
SUITES ?= build compressed lookup http limits scale shards tasks history
KUSTOMIZE = v5.8.0
KUBECTL_VALIDATE = v0.0.4
CONTROLLER_GEN = v0.19.0
PROMETHEUS_OPERATOR = v0.95.2
KUBERNETES = bin/kubernetes-$(KUSTOMIZE)-$(KUBECTL_VALIDATE)-$(PROMETHEUS_OPERATOR)
CONTROL_PLANE_VERSION = v1.30.1
CONTROL_PLANE = bin/control-plane-$(CONTROL_PLANE_VERSION)
VERSITYGW = v1.8.0
GATEWAY = bin/versitygw-$(VERSITYGW)
PYSPARK = 4.3.0
SPARK = bin/pyspark-$(PYSPARK)
SCHEMATHESIS_VERSION = 4.32.5
SCHEMATHESIS = bin/schemathesis-$(SCHEMATHESIS_VERSION)/bin/schemathesis
AXE_CORE = 4.14.1
AXE = bin/axe-core-$(AXE_CORE)
NFPM = v2.45.1
CYCLONEDX = v1.10.0
PACKAGERS = bin/packagers-$(NFPM)-$(CYCLONEDX)
TOOLS = chromium curl fish haproxy jq lintian man-db nginx-light procps prometheus rpm rsync systemd tabix zsh
BENCH ?= .
LISTEN ?= :1321
UPDATER ?= 127.0.0.1:1322
DATA ?= sample
SAMPLE ?= testdata/promotions.csv
PREFIX ?= /usr/local
BIN ?= bin
DIST ?= dist
ARCHITECTURES ?= amd64 arm64

export CGO_ENABLED = 0
export GOTOOLCHAIN = local

VERSION = $(shell git describe --tags --always --dirty 2>/dev/null)
STAMP = -X "promostore/cmd/internal/program.stamp=$(VERSION)"
EPOCH = $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null || date +%s))
COMPLETIONS = $(foreach p,promobuild promoserve,share/bash-completion/completions/$(p) share/zsh/site-functions/_$(p) share/fish/vendor_completions.d/$(p).fish)
INSTALLED = $(addprefix bin/,promobuild promoserve promo-pull) $(addprefix lib/systemd/system/,$(notdir $(wildcard deploy/systemd/*))) \
	$(addprefix share/man/man1/,$(addsuffix .gz,$(notdir $(wildcard docs/man/*)))) $(COMPLETIONS)
SCRIPTS = .ci/run deploy/rsync/promo-pull $(shell git ls-files '*.sh')

quote = '$(subst ','\'',$(1))'
install = { apt-get update && apt-get install -y --no-install-recommends $(1); }

.PHONY: modules build install uninstall packages run test race test-system campaign docker java python test-bench lint prose audit fuzz bench scorecard peers cover golden clean help

modules: # downloads the modules if one is missing; then builds and tests need no network
	@go list -deps -test ./... >/dev/null 2>&1 || out=$$(go mod download 2>&1) || { echo "$$out"; echo 'A Go module is missing' \
		'and cannot be downloaded. Run "go mod download" once with a network, or set GOPROXY to a mirror.'; exit 1; } >&2

build: modules ## build both programs in bin/
	go build -trimpath -ldflags $(call quote,$(STAMP)) -o bin/ ./cmd/...

install: ## copy the programs of BIN=bin, units, manual pages and completion scripts to DESTDIR/PREFIX, by default /usr/local
	@BIN=$(call quote,$(BIN)) PREFIX=$(call quote,$(PREFIX)) DESTDIR=$(call quote,$(DESTDIR)) SOURCE_DATE_EPOCH='$(EPOCH)' deploy/packages/install.sh $(INSTALLED)

uninstall: ## remove the files of "make install"
	cd $(call quote,$(DESTDIR)$(PREFIX)) && rm -f $(INSTALLED)

packages: modules $(PACKAGERS) ## build deb and rpm packages in dist/, and for each program the list of its components (SBOM); MAINTAINER= names the maintainer
	@DIST=$(call quote,$(DIST)) PACKAGERS='$(PACKAGERS)' ARCHITECTURES='$(ARCHITECTURES)' VERSION=$(call quote,$(VERSION)) \
		STAMP=$(call quote,$(STAMP)) SOURCE_DATE_EPOCH='$(EPOCH)' deploy/packages/build.sh

$(PACKAGERS): # programs that build packages and list components
	GOBIN='$(CURDIR)/$@.new' go install github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM)
	GOBIN='$(CURDIR)/$@.new' go install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(CYCLONEDX)
	mv $@.new $@

run: build ## serve testdata/promotions.csv and accept uploads; LISTEN=, UPDATER=, DATA= choose addresses and a directory
	@LISTEN='$(LISTEN)' UPDATER='$(UPDATER)' DATA=$(call quote,$(DATA)) SAMPLE=$(call quote,$(SAMPLE)) exec deploy/run.sh

test: modules ## run the tests that need only Go
	go test ./...

race: modules ## run them with the race detector
	CGO_ENABLED=1 go test -timeout 30m -race ./...

test-system: docker java $(KUBERNETES) $(CONTROL_PLANE) $(GATEWAY) $(SPARK) $(SCHEMATHESIS) $(PACKAGERS) $(AXE) ## run the tests that need root, mounts or other programs; installs missing programs
	@dpkg -s $(TOOLS) >/dev/null 2>&1 || $(call install,$(TOOLS))
	AXE='$(CURDIR)/$(AXE)/axe.min.js' PATH='$(CURDIR)/$(KUBERNETES):$(CURDIR)/$(CONTROL_PLANE):$(CURDIR)/$(GATEWAY)':"$$PATH":'$(CURDIR)/$(SPARK)/bin:$(CURDIR)/$(dir $(SCHEMATHESIS))' go test -timeout 60m -tags system ./deploy ./... # the longest first

campaign: ## repeat hostile acts and failures thousands of times, for about 10 minutes; needs the programs and the rights of test-system; SCALE=, SEED= and CAMPAIGN=regexp choose
	@dpkg -s $(TOOLS) >/dev/null 2>&1 || $(call install,$(TOOLS))
	SCALE='$(SCALE)' SEED='$(SEED)' go test -count 1 -v -p 1 -timeout 2h -tags campaign -run '^TestCampaign$(CAMPAIGN)' \
		./httpd ./reader ./deploy

python: # venv of Python, for Spark and Schemathesis
	@python3 -c 'import ensurepip' 2>/dev/null || $(call install,python3-venv)

java: # Java, for Spark
	@command -v java >/dev/null || $(call install,default-jre-headless)

docker: # a running Docker engine and Compose; installs and starts them if none answers
	@{ docker compose version || command -v docker-compose; } >/dev/null 2>&1 || $(call install,docker.io docker-compose)
	@docker info >/dev/null 2>&1 || { command -v dockerd >/dev/null || $(call install,docker.io); \
		setsid dockerd >/var/log/dockerd.log 2>&1 & \
		timeout 60 sh -c 'until docker info >/dev/null 2>&1; do sleep 0.2; done' || { tail /var/log/dockerd.log; exit 1; }; }

$(KUBERNETES): # programs that render and validate deploy/kubernetes
	GOBIN='$(CURDIR)/$@.new' go install sigs.k8s.io/kustomize/kustomize/v5@$(KUSTOMIZE)
	GOBIN='$(CURDIR)/$@.new' go install sigs.k8s.io/kubectl-validate@$(KUBECTL_VALIDATE)
	GOBIN='$(CURDIR)/$@.new' go install sigs.k8s.io/controller-tools/cmd/controller-gen@$(CONTROLLER_GEN)
	module=$$(go mod download -json github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring@$(PROMETHEUS_OPERATOR)) && \
		cd "$$(printf %s "$$module" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')" && '$(CURDIR)/$@.new/controller-gen' crd paths=./v1 output:dir='$(CURDIR)/$@.new/crds'
	mv $@.new $@

# Kubernetes replaces modules by directories of its repository, so "go install" refuses
# it. The modules are published under the version with v0 instead of v1.
$(CONTROL_PLANE): # kubectl, and the API server and the controllers that run Jobs
	mkdir -p $@.new && cd $@.new && rm -f go.mod go.sum && go mod init kubernetes
	cd $@.new && mod=$$(go mod download -json k8s.io/kubernetes@$(CONTROL_PLANE_VERSION) | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p') && \
		go mod edit -require=k8s.io/kubernetes@$(CONTROL_PLANE_VERSION) \
		$$(sed -n 's,.*\(k8s.io/[a-z-]*\) => ./staging.*,-replace=\1=\1@$(CONTROL_PLANE_VERSION:v1%=v0%),p' "$$mod")
	cd $@.new && go build -mod=mod -o . -ldflags '-s -X k8s.io/component-base/version.gitVersion=$(CONTROL_PLANE_VERSION)' \
		k8s.io/kubernetes/cmd/kubectl k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager go.etcd.io/etcd/server/v3
	mv $@.new/server $@.new/etcd && mv $@.new $@

$(GATEWAY): # an S3 server
	GOBIN='$(CURDIR)/$@.new' go install github.com/versity/versitygw/cmd/versitygw@$(VERSITYGW)
	mv $@.new $@

$(SPARK): | java python # Apache Spark
	rm -rf $@.new && python3 -m venv $@.new
	$@.new/bin/python3 -m pip install --quiet --disable-pip-version-check pyspark==$(PYSPARK)
	mv $@.new $@

$(SCHEMATHESIS): | python # sends requests that openapi/openapi.json describes, and others; its path is part of the program
	rm -rf bin/schemathesis-* && python3 -m venv $(patsubst %/bin/,%,$(dir $@))
	$(@D)/python3 -m pip install --quiet --disable-pip-version-check schemathesis==$(SCHEMATHESIS_VERSION)

$(AXE): # the script that looks for barriers in pages
	@command -v npm >/dev/null || $(call install,npm)
	rm -rf $@.new && mkdir -p $@.new
	cd $@.new && npm pack --silent axe-core@$(AXE_CORE) >/dev/null && tar -xzf axe-core-*.tgz --strip-components 1 package/axe.min.js package/LICENSE
	mv $@.new $@

STORAGE_PATH = PATH="$(CURDIR)/$(GATEWAY):$$PATH:$(CURDIR)/$(SPARK)/bin"

test-bench: peers java $(GATEWAY) $(SPARK) ## check that the peers in bench/ give right answers; installs them
	cd bench && $(STORAGE_PATH) CGO_ENABLED=1 go test ./...

lint: $(LINTER) prose ## run gofmt, go vet, golangci-lint, shellcheck and the prose check
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt these: $$unformatted"; exit 1; }
	go vet ./... && go vet -tags system ./... && go vet -tags campaign ./... && cd bench && CGO_ENABLED=1 go vet ./...
	$(LINTER) run --build-tags system,campaign ./...
	cd bench && CGO_ENABLED=1 ../$(LINTER) run ./...
	@command -v shellcheck >/dev/null || $(call install,shellcheck)
	shellcheck $(SCRIPTS)

prose: ## check the language of comments, strings and documents
	go run ./internal/prose .

$(LINTER): # the name has the version, so that a change of it installs again
	GOBIN='$(CURDIR)/bin' go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT)
	mv bin/golangci-lint $@

audit: $(AUDITOR) ## write the licences of linked modules to THIRD_PARTY.md, then look for known vulnerabilities; VULNDB= chooses the database
	go run ./internal/thirdparty THIRD_PARTY.md
	$(AUDITOR) -db '$(VULNDB)' ./cmd/...

$(AUDITOR):
	GOBIN='$(CURDIR)/bin' go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK)
	mv bin/govulncheck $@

fuzz: ## run every fuzz target for FUZZTIME
	@set -e; packages=$$(go list ./...); for p in $$packages; do targets=$$(go test -list '^Fuzz' $$p); \
		for f in $$(echo "$$targets" | grep '^Fuzz'); do echo "$$p $$f"; \
		go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$p; done; done

bench: ## run the benchmarks of the packages; BENCH=regexp chooses
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

scorecard: peers java $(GATEWAY) $(SPARK) ## measure against the peers and the machine, for docs/benchmarks.md; SUITES=, ROWS= and DIR= choose
	@mkdir -p bench/results
	cd bench && for suite in $(SUITES); do out=results/$$suite.txt; \
		DIR='$(if $(DIR),$(abspath $(DIR)))' ROWS=$(ROWS) $(STORAGE_PATH) CGO_ENABLED=1 go test -run '^$$' -bench "(?i)^benchmark$$suite\$$" -benchtime 1x -timeout 0 . | tee $$out.new; \
		grep -q '^ok' $$out.new && mv $$out.new $$out || exit 1; done
	cd bench && go run ./cmd/report results ../docs/benchmarks.md

peers: # programs that promostore is compared with
	@dpkg -s $(PEERS) >/dev/null 2>&1 || $(call install,$(PEERS))

cover: ## print the coverage of all tests
	go test -coverpkg ./... -coverprofile cover.out ./... && go tool cover -func cover.out | tail -1

golden: ## regenerate the golden files and the golden page, docs/reference.md, the manual pages, and the rules and routers for Kubernetes
	go test ./format ./page ./docs ./deploy -update

screenshots: modules ## write docs/page-light.png and docs/page-dark.png again
	@dpkg -s chromium >/dev/null 2>&1 || $(call install,chromium)
	go test -count 1 -tags system -run TestScreenshots ./deploy -update

clean: ## remove built programs and packages, but no generations
	rm -rf bin dist cover.out

help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:[^#]*##/\t/' | expand -t 14
