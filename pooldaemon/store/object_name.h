// object_name.h - a name of an object, most of which have none: a pointer.
#pragma once
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

namespace spillway::pool {

class ObjectName {
 public:
  // Without zeroes, which names do not have.
  ObjectName& operator=(std::string_view text) {
    text_.reset();
    if (text.empty()) return *this;
    text_.reset(new char[text.size() + 1]);
    memcpy(text_.get(), text.data(), text.size());
    text_[text.size()] = '\0';
    return *this;
  }
  void clear() { text_.reset(); }
  bool empty() const { return !text_; }
  std::string_view view() const { return text_ ? std::string_view(text_.get()) : std::string_view(); }
  operator std::string_view() const { return view(); }  // NOLINT: it is one
  std::string str() const { return std::string(view()); }

 private:
  std::unique_ptr<char[]> text_;
};

}  // namespace spillway::pool
