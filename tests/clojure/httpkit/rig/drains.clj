(ns httpkit.rig.drains
  "Servers that are drained and replaced under load whose connections are kept alive: no request may fail. Behind nothing
  (the next server listens on the same port), behind nginx and behind HAProxy (two servers, drained and started again in
  turn). The load is wrk's, and also oha's if it is installed (`cargo install oha`).

     clojure.main -m httpkit.rig.drains [drains]      default 50 for each"
  (:require [clojure.java.io    :as io]
            [clojure.string     :as str]
            [httpkit.files      :as files]
            [httpkit.nginx      :as nginx]
            [httpkit.tls-certs  :as certs]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server])
  (:import (java.io File)
           (java.util.concurrent TimeUnit)))

(set! *warn-on-reflection* true)

(def ^:private connections 32)

;;;; Servers

(defn- handler [_]
  (Thread/sleep 1)
  {:status 200 :headers {"Content-Type" "text/plain"} :body "done"})

(defn- start [port]
  (server/run-server handler {:ip "127.0.0.1" :port port :reuse-port? true :legacy-return-value? false}))

(defn- drain! [server]
  (let [counts (deref (server/server-drain! server {:timeout 30000}) 60000 :late)]
    (when-not (= 0 (:cut counts))
      (throw (ex-info (str "a drain cut what was under way: " counts) {})))))

;;;; Load

(defn- start-process ^Process [^File out command]
  (-> (ProcessBuilder. ^java.util.List (mapv str command))
      (.redirectErrorStream true)
      (.redirectOutput out)
      (.start)))

(defn- interrupt! [^Process process]
  (certs/run "kill" "-INT" (.pid process))
  (when-not (.waitFor process 60 TimeUnit/SECONDS)
    (.destroyForcibly process)
    (throw (ex-info "the load does not end" {}))))

(defn- number [text] (Long/parseLong (or text "0")))

(defn- wrk
  "For a URL, how wrk is started, and a function of what it says: {:requests n :failed [line ...]}."
  [url]
  [["wrk" "-t" 1 "-c" connections "-d" "1h" "--timeout" "30s" url]
   (fn [said]
     {:requests (number (second (re-find #"(\d+) requests in" said)))
      :failed   (filterv #(re-find #"Socket errors|Non-2xx" %) (str/split-lines said))})])

(defn- oha
  "As `wrk`. Requests that are under way when it is interrupted are none that failed."
  [url]
  [["oha" "-z" "1h" "-c" connections "-t" "30s" "--no-tui" "--output-format" "json" url]
   (fn [said]
     (let [counts   (fn [k]
                      (let [object (second (re-find (re-pattern (str k "\": \\{([^}]*)")) said))]
                        (for [[_ what n] (re-seq #"\"([^\"]+)\": (\d+)" (or object ""))]
                          [what (number n)])))
           statuses (counts "statusCodeDistribution")]
       {:requests (reduce + (map second statuses))
        :failed   (vec (for [[what n] (concat statuses (counts "errorDistribution"))
                             :when (not (#{"200" "aborted due to deadline"} what))]
                         (str what ": " n)))}))])

(defn- under-load
  "The figures of requests to `port` while `f` runs."
  [load port f]
  (let [[command figures] (load (str "http://127.0.0.1:" port "/"))
        out     (File/createTempFile "drains" ".load")
        process (start-process out command)]
    (try
      (Thread/sleep 500)
      (f)
      (Thread/sleep 300)
      (interrupt! process)
      (let [said (slurp out), {:keys [requests] :as all} (figures said)]
        (cond-> all (zero? (long requests)) (update :failed conj said)))
      (finally
        (.destroyForcibly process)
        (.delete out)))))

;;;; In front of them

(defn- nginx-config [dir port ports]
  ;; A server that refuses for a moment is back at once: it is not left out for 10 s.
  (nginx/proxy-config dir port ports :options "max_fails=0" :keepalive 64))

(defn- haproxy-config [_ port ports]
  (str "global\n  maxconn 2000\n"
       "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n"
       "  retries 3\n  option redispatch 1\n  http-reuse always\n"
       "frontend front\n  bind 127.0.0.1:" port "\n  default_backend app\n"
       "backend app\n  balance roundrobin\n"
       (str/join (map-indexed (fn [i p] (str "  server s" i " 127.0.0.1:" p " check inter 200ms fall 1 rise 1\n")) ports))))

(defn- connectable? [port]
  (try (.close (wire/connect port)) true
       (catch java.io.IOException _ false)))

(defn- behind
  "Calls `f` with the port of a proxy in front of `ports`; what the proxy has logged, by kind."
  [kind ports f]
  (let [dir     (files/readable-directory)
        front   (wire/free-port)
        file    (io/file dir "proxy.conf")
        _       (spit file ((case kind :nginx nginx-config :haproxy haproxy-config) dir front ports))
        log     (io/file dir "out.log")
        process (start-process log (case kind
                                     :nginx   ["nginx" "-p" dir "-c" file]
                                     :haproxy ["haproxy" "-db" "-f" file]))]
    (try
      (when-not (wire/eventually #(connectable? front))
        (throw (ex-info (str (name kind) " does not start: " (slurp log)) {})))
      (f front)
      (finally
        (.destroy process)
        (.waitFor process 10 TimeUnit/SECONDS)
        (let [errors (io/file dir "error.log")
              lines  (when (.exists errors) (str/split-lines (slurp errors)))
              kinds  (frequencies (keep #(second (re-find #"(connect\(\) failed|prematurely closed|reset by peer|no live upstreams)" %)) lines))]
          (when (seq kinds) (println (name kind) "logged" kinds)))))))

(defn- alone
  "Drains `n` servers, each replaced before by one on the same port."
  [load n]
  (let [port   (wire/free-port)
        server (volatile! (start port))]
    (try
      (under-load load port #(dotimes [_ n]
                               (let [old @server]
                                 (vreset! server (start port))
                                 (drain! old)
                                 (Thread/sleep 50))))
      (finally (some-> (server/server-stop! @server) deref)))))

(defn- proxied [kind load n]
  (let [ports   [(wire/free-port) (wire/free-port)]
        servers (atom (mapv start ports))]
    (try
      (behind kind ports
        (fn [front]
          (under-load load front #(dotimes [round n]
                                    (let [i (rem (long round) 2)]
                                      (drain! (nth @servers i))
                                      (swap! servers assoc i (start (nth ports i)))
                                      ;; The proxy looks every 200 ms.
                                      (Thread/sleep 500))))))
      (finally (doseq [s @servers] (some-> (server/server-stop! s) deref))))))

(defn- installed? [program]
  (boolean (some #(.canExecute (io/file % program)) (str/split (System/getenv "PATH") #":"))))

(defn -main [& [drains]]
  (let [n       (Long/parseLong (or drains "50"))
        results (doall (for [[by load]  (cond-> [["wrk" wrk]] (installed? "oha") (conj ["oha" oha]))
                             [about f] [["behind nothing" alone]
                                        ["behind nginx" (partial proxied :nginx)]
                                        ["behind HAProxy" (partial proxied :haproxy)]]]
                         (let [{:keys [requests failed]} (f load n)]
                           (println (str n " drains " about ": " requests " requests of " by ", "
                                         (if (empty? failed) "none failed" (str "FAILED: " (str/join "; " failed)))))
                           (flush)
                           (empty? failed))))
        bad (count (remove true? results))]
    (println (format "%d passed, %d failed" (- (count results) bad) bad))
    (shutdown-agents)
    (System/exit (if (zero? bad) 0 1))))
