#include "pooldaemon/metrics.h"

#include <fmt/format.h>
#include <prometheus/collectable.h>
#include <prometheus/exposer.h>
#include <prometheus/metric_family.h>

#include <future>
#include <set>

#include "pooldaemon/server.h"

namespace spillway::pool {
namespace {

using Figures = std::vector<std::pair<std::string, uint64_t>>;

class Collector : public prometheus::Collectable {
 public:
  explicit Collector(Server& server) : server_(server) {}
  std::vector<prometheus::MetricFamily> Collect() const override {
    auto promise = std::make_shared<std::promise<Figures>>();
    auto figures = promise->get_future();
    boost::asio::post(server_.io(),
                      [promise, &server = server_] { promise->set_value(server.store().counters()); });
    if (figures.wait_for(std::chrono::seconds(2)) != std::future_status::ready) return {};
    static const std::set<std::string> kCounted = {
        "puts",          "gets",          "hits",           "misses",
        "spills",        "spilled_bytes", "free_evictions", "destroyed_on_evict",
        "loads",         "loaded_bytes",  "file_reads",     "spill_failures",
        "load_failures", "full_answers",  "erased",         "revokes"};
    std::vector<prometheus::MetricFamily> families;
    for (const auto& [name, value] : figures.get()) {
      const bool counted = kCounted.contains(name);
      prometheus::MetricFamily family;
      family.name = "spillway_pool_" + name + (counted ? "_total" : "");
      family.help = "see docs/wire_protocol.md";
      family.type = counted ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
      prometheus::ClientMetric metric;
      (counted ? metric.counter.value : metric.gauge.value) = static_cast<double>(value);
      family.metric.push_back(metric);
      families.push_back(std::move(family));
    }
    return families;
  }

 private:
  Server& server_;
};

}  // namespace

struct Metrics::Parts {
  std::shared_ptr<prometheus::Collectable> collector;
  std::unique_ptr<prometheus::Exposer> exposer;
};

Metrics::Metrics() : parts_(std::make_unique<Parts>()) {}
Metrics::~Metrics() = default;

std::string Metrics::serve(Server& server, unsigned port) {
  try {
    parts_->exposer = std::make_unique<prometheus::Exposer>(fmt::format("127.0.0.1:{}", port), 1);
  } catch (const std::exception& error) {
    return fmt::format("metrics_port {}: cannot listen there ({})", port, error.what());
  }
  parts_->collector = std::make_shared<Collector>(server);
  parts_->exposer->RegisterCollectable(parts_->collector);
  return "";
}

void Metrics::end() { parts_->exposer.reset(); }

}  // namespace spillway::pool
