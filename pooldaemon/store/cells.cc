#include "pooldaemon/store/cells.h"

#include "base/os/clock.h"

namespace spillway::pool {
namespace {

const Failure kUnknown{SPILLWAY_OWNER_DIED,
                       "no such event or future: who made it has ended, or it never was"};

}  // namespace

std::pair<uint64_t, uint64_t> Cells::make(Client& client, bool future) {
  const uint64_t id = ++last_id_;
  Cell& cell = cells_[id];
  cell.key = os::random_number() | 1;
  cell.owner = client.id;
  cell.future = future;
  use(client, id, cell);
  return {id, cell.key};
}

Cells::Cell* Cells::find(uint64_t id, uint64_t key) {
  const auto found = cells_.find(id);
  return found == cells_.end() || found->second.key != key ? nullptr : &found->second;
}

void Cells::use(Client& client, uint64_t id, Cell& cell) {
  cell.users.insert(client.id);
  client.cells.insert(id);
}

Answer<CellValue> Cells::answer_of(const Cell& cell) const {
  if (cell.set && !cell.error.empty()) return {{SPILLWAY_FAILED, cell.error}};
  if (cell.set) return {{}, cell.value};
  return {{SPILLWAY_OWNER_DIED, "the process that made it has ended without setting it"}};
}

void Cells::wake(Cell& cell) {
  auto waiters = std::move(cell.waiters);
  cell.waiters.clear();
  const Answer<CellValue> answer = answer_of(cell);
  for (auto& [number, waiter] : waiters) {
    if (waiter.timer) store_.timers().cancel(*waiter.timer);
    waiter.reply(answer);
  }
}

Failure Cells::put(Client& client, uint64_t id, uint64_t key, std::optional<CellValue> value,
                   std::string error) {
  Cell* const cell = find(id, key);
  if (cell == nullptr) return kUnknown;
  if (cell->future != (value || !error.empty()))
    return {SPILLWAY_INVALID,
            cell->future ? "a future takes a value or an error" : "an event takes no value"};
  if (cell->set)
    return cell->future ? Failure{SPILLWAY_ALREADY_SET, "the future has its value already"} : Failure{};
  if (cell->orphan) return answer_of(*cell).failure;
  use(client, id, *cell);
  if (value) {
    // A ticket that does not expire: the future's own reference.
    Answer<uint64_t> ticket = store_.issue(client, {value->id, value->key, ""}, uint64_t{1} << 50);
    if (ticket.failure.bad()) return ticket.failure;
    cell->ticket = ticket.value;
    cell->value = *value;
  }
  cell->error = std::move(error);
  cell->set = true;
  wake(*cell);
  return {};
}

void Cells::get(Client& client, uint64_t id, uint64_t key, uint64_t timeout_ms, Reply<CellValue> reply) {
  Cell* const cell = find(id, key);
  if (cell == nullptr) return reply({kUnknown});
  use(client, id, *cell);
  if (cell->set || cell->orphan) return reply(answer_of(*cell));
  const uint64_t number = ++last_waiter_;
  Waiter& waiter = cell->waiters[number] = {client.id, std::move(reply), std::nullopt};
  if (timeout_ms == wire::kForever) return;
  waiter.timer = store_.timers().add(os::monotonic_ms() + timeout_ms, [this, id, number, timeout_ms] {
    auto waiting = cells_.at(id).waiters.extract(number);
    waiting.mapped().reply({{SPILLWAY_TIMED_OUT, fmt::format("it was not set within {} ms", timeout_ms)}});
  });
}

void Cells::close(Client& client) {
  for (uint64_t id : std::vector<uint64_t>(client.cells.begin(), client.cells.end())) {
    Cell& cell = cells_.at(id);
    cell.users.erase(client.id);
    for (auto w = cell.waiters.begin(); w != cell.waiters.end();) {
      if (w->second.client != client.id) {
        ++w;
        continue;
      }
      if (w->second.timer) store_.timers().cancel(*w->second.timer);
      w = cell.waiters.erase(w);
    }
    if (cell.owner == client.id && !cell.set) {
      cell.orphan = true;
      wake(cell);
    }
    if (!cell.users.empty()) continue;
    if (cell.ticket != 0) store_.void_ticket(cell.ticket);
    cells_.erase(id);
  }
  client.cells.clear();
}

}  // namespace spillway::pool
