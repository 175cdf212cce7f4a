# Included by the Makefile at the repository's root.

BUILD ?= build

# The trusted program, built by its recipe.
.PHONY: enclave
enclave:
	@mkdir -p $(BUILD)
	enclave/build.sh $(BUILD)/cella-enclave
	@$(BUILD)/cella-enclave measure

# What the measurement depends on besides the sources.
.PHONY: enclave-recipe
enclave-recipe:
	@enclave/build.sh recipe

# Builds it twice in different places and compares.
.PHONY: enclave-repro
enclave-repro:
	enclave/reproducible.sh
