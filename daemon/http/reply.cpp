#include "daemon/http/reply.hpp"

#include <array>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <cstdio>

namespace canaryd::http {

namespace json = boost::json;

namespace {

json::object document(const Refusal& refusal, std::string_view request_id) {
    json::object problem;
    problem["type"] = "urn:canaryd:problem:" + refusal.name;
    problem["title"] = phrase(refusal.status);
    problem["status"] = refusal.status;
    problem["detail"] = refusal.detail;
    problem["instance"] = request_id;
    return problem;
}

Reply reply_of(const Refusal& refusal, const json::object& document) {
    return {refusal.status, "application/problem+json", json::serialize(document) + "\n",
            refusal.fields, false};
}

}  // namespace

Reply text_reply(std::string text) {
    return {200, "text/plain; charset=utf-8", std::move(text), {}, false};
}

Reply json_reply(std::string json, int status) {
    return {status, "application/json", std::move(json) + "\n", {}, false};
}

Reply problem(const Refusal& refusal, std::string_view request_id, bool close) {
    Reply reply = reply_of(refusal, document(refusal, request_id));
    reply.close = close;
    return reply;
}

Reply problem(const Refusal& refusal, std::string_view request_id,
              const std::vector<FieldError>& errors) {
    json::array list;
    for (const FieldError& error : errors) {
        list.push_back(json::object{{"pointer", error.pointer}, {"message", error.message}});
    }
    json::object problem = document(refusal, request_id);
    problem["errors"] = std::move(list);
    return reply_of(refusal, problem);
}

Reply problem(const Refusal& refusal, std::string_view request_id,
              const std::vector<Problem>& mistakes) {
    json::array list;
    for (const Problem& mistake : mistakes) {
        list.push_back(json::object{{"file", mistake.file},
                                    {"line", mistake.line},
                                    {"column", mistake.column},
                                    {"field", mistake.field},
                                    {"message", mistake.message}});
    }
    json::object problem = document(refusal, request_id);
    problem["errors"] = std::move(list);
    return reply_of(refusal, problem);
}

std::string_view phrase(int status) {
    switch (status) {
        case 200:
            return "OK";
        case 201:
            return "Created";
        case 204:
            return "No Content";
        case 400:
            return "Bad Request";
        case 403:
            return "Forbidden";
        case 404:
            return "Not Found";
        case 405:
            return "Method Not Allowed";
        case 408:
            return "Request Timeout";
        case 409:
            return "Conflict";
        case 411:
            return "Length Required";
        case 413:
            return "Content Too Large";
        case 414:
            return "URI Too Long";
        case 415:
            return "Unsupported Media Type";
        case 417:
            return "Expectation Failed";
        case 421:
            return "Misdirected Request";
        case 422:
            return "Unprocessable Content";
        case 429:
            return "Too Many Requests";
        case 431:
            return "Request Header Fields Too Large";
        case 500:
            return "Internal Server Error";
        case 501:
            return "Not Implemented";
        case 503:
            return "Service Unavailable";
        case 505:
            return "HTTP Version Not Supported";
    }
    return "Error";
}

std::string http_date(TimePoint at) {
    using namespace std::chrono;
    constexpr std::array<const char*, 7> days{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    constexpr std::array<const char*, 12> months{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                 "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    const auto day = floor<std::chrono::days>(at);
    const year_month_day date{day};
    const hh_mm_ss time{floor<std::chrono::seconds>(at - day)};
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "%s, %02u %s %04d %02d:%02d:%02d GMT",
                  days[weekday{day}.c_encoding()], static_cast<unsigned>(date.day()),
                  months[static_cast<unsigned>(date.month()) - 1], static_cast<int>(date.year()),
                  static_cast<int>(time.hours().count()), static_cast<int>(time.minutes().count()),
                  static_cast<int>(time.seconds().count()));
    return text.data();
}

}  // namespace canaryd::http
