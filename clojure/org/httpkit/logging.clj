(ns ^:no-doc org.httpkit.logging
  "Loggers and event names that users give to servers and clients. Not API."
  (:import
   [java.util Map]
   [org.httpkit.logger ContextLogger EventLogger EventNames]))

(set! *warn-on-reflection* true)

(defn context-logger
  "A logger that calls `f`, a function of message and throwable; `default` if nil."
  ^ContextLogger [f default]
  (if f
    (reify ContextLogger (log [_ msg throwable] (f msg throwable)))
    default))

(defn event-logger
  "A logger that calls `f` with each event's name; a no-op if nil."
  ^EventLogger [f]
  (if f
    (reify EventLogger (log [_ event] (f event)))
    EventLogger/NOP))

(defn event-names
  "EventNames for `names`: an EventNames, a map of replacements, or nil."
  ^EventNames [names]
  (cond
    (not names)                  EventNames/DEFAULT
    (instance? EventNames names) names
    :else                        (EventNames. ^Map names)))
