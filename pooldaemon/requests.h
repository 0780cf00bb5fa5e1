// requests.h - the parts of the dispatcher: what requests have in common, and the verbs that take more than a
// few lines to read and to answer.
#pragma once
#include "pooldaemon/server.h"

namespace spillway::pool {

// Where an answer goes. The connection may have closed by then: then it goes nowhere.
struct Responder {
  std::weak_ptr<Connection> connection;
  uint64_t request;
  uint16_t verb;

  void ok(wire::Writer& w, int fd = -1) const {
    const auto c = connection.lock();
    if (!c) return;
    wire::finish_frame(w.data(), request, verb, SPILLWAY_OK, fd >= 0 ? 1 : 0);
    c->send(w.take(), fd);
  }
  void ok() const {
    wire::Writer w(wire::kHeaderBytes);
    ok(w);
  }
  void fail(const Failure& failure) const {
    const auto c = connection.lock();
    if (!c) return;
    wire::Writer w(wire::kHeaderBytes);
    w.bytes(std::string_view(failure.what).substr(0, 16 << 10));
    wire::finish_frame(w.data(), request, verb, static_cast<uint16_t>(failure.status), 0);
    c->send(w.take());
  }
  void done(const Failure& failure) const { failure.bad() ? fail(failure) : ok(); }
};

Which read_which(wire::Reader& r);
PutRequest read_put(wire::Reader& r);
void write_published(wire::Writer& w, const Published& p);
void write_info(wire::Writer& w, Store& store, const Object& o);

// Each reads what is left of the request; `invalid` is the answer to one that cannot be decoded.
void get(Store& store, Client& client, wire::Reader& r, const Responder& reply, const Failure& invalid);
void list(Store& store, Client& client, wire::Reader& r, const Responder& reply, const Failure& invalid);
void to_disk(Store& store, Client& client, wire::Reader& r, const Responder& reply, const Failure& invalid);
void clients(Store& store, Client& self, const Responder& reply);
void configure(Server& server, Client& client, wire::Reader& r, const Responder& reply,
               const Failure& invalid);
void set_or_get_tag(Store& store, Client& client, wire::Reader& r, const Responder& reply,
                    const Failure& invalid);

}  // namespace spillway::pool
