(ns httpkit.stream-judges-server
  "What `httpkit.stream-judges` measures, in a process of its own."
  (:require [clojure.edn          :as edn]
            [clojure.string       :as str]
            [httpkit.event-delays :as event-delays]
            [org.httpkit.server   :as server]
            [org.httpkit.sse      :as sse])
  (:import (java.io InputStream)
           (java.util.concurrent.atomic AtomicLong)))

(set! *warn-on-reflection* true)

(def ^:private streams (atom #{}))
(def ^:private ^AtomicLong uploads (AtomicLong.))
(def ^:private longest-send "In ms, of the events of /clock since it was last asked for." (atom 0.0))

(defn fragment
  "What an app that updates a page with Datastar sends: rows of a table, with new numbers each time."
  [stream i]
  {:event "datastar-patch-elements"
   :id    i
   :data  (str "selector #table\nmode inner\n"
            (str/join "\n" (for [r (range 8)]
                             (str "elements <tr id=\"row-" r "\"><td class=\"name\">Item " r "</td><td class=\"price\">"
                                  (rem (+ (* stream 104729) (* i 7919) (* r 31)) 1000) "</td><td class=\"n\">" (* i r) "</td></tr>"))))})

(defn- each-its-own! [i]
  (doseq [[at s] (map-indexed vector @streams)]
    (sse/send! s (fragment at i))))

(defn- used-heap []
  (dotimes [_ 2] (System/gc))
  (let [runtime (Runtime/getRuntime)]
    (- (.totalMemory runtime) (.freeMemory runtime))))

(defn- handler [{:keys [uri query-string ^InputStream body] :as req}]
  (case uri
    "/clock"  ((event-delays/clock 300 10 :sent #(swap! longest-send max %)) req)
    "/page"   {:status 200 :headers {"Content-Type" "text/html"} :body event-delays/page}
    "/events" (sse/stream req {:on-open  #(swap! streams conj %)
                               :on-close (fn [s _] (swap! streams disj s))})
    "/own"    (do (each-its-own! (parse-long query-string)) {:status 200 :body "sent"})
    "/all"    (do (sse/broadcast! @streams (fragment 0 (parse-long query-string))) {:status 200 :body "sent"})
    "/up"     (do (.incrementAndGet uploads)
                  {:status 200 :body (str (count (.readAllBytes body)))})
    "/state"  {:status 200 :body (pr-str {:streams (count @streams) :uploads (.get uploads) :heap (used-heap)})}
    "/longest-send" {:status 200 :body (str (first (reset-vals! longest-send 0.0)))}
    {:status 200 :body "ok"}))

(defn -main
  "Prints the port."
  [options]
  (let [stop (server/run-server handler (merge {:port 0 :ip "127.0.0.1"} (edn/read-string options)))]
    (println (:local-port (meta stop)))
    (flush)))
