(ns ^:no-doc org.httpkit.logging
  "Loggers and names of events, as users give them to servers and clients. Not API."
  (:import
   [java.util Map]
   [org.httpkit.logger ContextLogger EventLogger EventNames]))

(set! *warn-on-reflection* true)

(defn context-logger
  "The logger that calls `f`, a function of message and throwable; `default` without one."
  ^ContextLogger [f default]
  (if f
    (reify ContextLogger (log [_ msg throwable] (f msg throwable)))
    default))

(defn event-logger
  "The logger that calls `f` with the name of each event; one that does nothing without."
  ^EventLogger [f]
  (if f
    (reify EventLogger (log [_ event] (f event)))
    EventLogger/NOP))

(defn event-names
  "EventNames for `names`: some already, a map of replacements, or nil."
  ^EventNames [names]
  (cond
    (nil? names)                 EventNames/DEFAULT
    (instance? EventNames names) names
    :else                        (EventNames. ^Map names)))
