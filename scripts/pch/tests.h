// tests.h - precompiled for the test suites.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "scripts/pch/std.h"
