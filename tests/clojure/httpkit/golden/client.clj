(ns httpkit.golden.client
  "Plays one client case: scripted servers on one side, `org.httpkit.client` on the other."
  (:require [httpkit.golden.bytes :as bytes]
            [httpkit.golden.script :as script]
            [httpkit.golden.value :as value])
  (:import [clojure.lang Reflector]
           [java.io ByteArrayOutputStream InputStream]))

(set! *warn-on-reflection* true)

(defn load-api! [_cases]
  (require 'org.httpkit.client))

(defn- api [n]
  @(requiring-resolve (symbol "org.httpkit.client" n)))

(defn- class-name [x] (some-> ^Object x .getClass .getName))

(defn- error-outcome [^Throwable t]
  (let [cause (.getCause t)]
    (cond-> {"class" (class-name t) "message" (.getMessage t)}
      cause (assoc "cause" (class-name cause) "cause_message" (.getMessage cause)))))

(defn- read-stream
  "Everything a live stream gives, and how it failed when it did."
  [^InputStream in]
  (let [out (ByteArrayOutputStream.)
        chunk (byte-array 8192)
        failure (try
                  (loop []
                    (let [n (.read in chunk)]
                      (when-not (neg? n)
                        (.write out chunk 0 n)
                        (recur))))
                  (catch Throwable t t))]
    (cond-> {"value" (bytes/shorten (.toByteArray out))}
      failure (assoc "read_error" (error-outcome failure)))))

(defn- body-outcome [body]
  (let [class (class-name body)]
    (cond
      (nil? body) nil
      (string? body) {"class" "String" "value" (bytes/shorten-text body)}
      (bytes? body) {"class" "byte[]" "value" (bytes/shorten body)}
      (= class "org.httpkit.DynamicBytes")
      {"class" class "value" (bytes/shorten (Reflector/invokeInstanceMethod body "bytes" (object-array 0)))}
      (instance? InputStream body)
      (assoc (read-stream body)
             "class" (if (= class "org.httpkit.BytesInputStream") class "java.io.InputStream"))
      :else {"class" class})))

(defn- opts-outcome [opts]
  (when (map? opts)
    {"keys" (sort (map #(if (keyword? %) (subs (str %) 1) (str %)) (keys (dissoc opts :client))))
     "url" (:url opts)
     "method" (some-> (:method opts) name)
     "trace-redirects" (:trace-redirects opts)}))

(defn- headers-outcome [headers]
  (into {} (map (fn [[k v]] [(if (keyword? k) (subs (str k) 1) (str "not a keyword: " k)) v])) headers))

(defn result-outcome
  "What a promise of the client held, in the data's words."
  [r]
  (cond
    (and (map? r) (contains? r :error))
    {"error" (error-outcome (:error r)) "opts" (opts-outcome (:opts r))}
    (and (map? r) (contains? r :status))
    {"status" (:status r) "headers" (headers-outcome (:headers r))
     "body" (body-outcome (:body r)) "opts" (opts-outcome (:opts r))}
    :else {"value" (if (or (nil? r) (string? r) (number? r) (boolean? r)) r (str (class-name r)))}))

(defn- call
  "Makes the request; the promise, or the exception that the call threw."
  [client {:strs [opts via callback]}]
  (let [opts (value/options opts)
        opts (if (contains? opts :client) opts (assoc opts :client client))
        callback (when callback [(value/named-fn callback)])]
    (try
      (if via
        (apply (api via) (:url opts) (dissoc opts :url) callback)
        (apply (api "request") opts callback))
      (catch Throwable t {::thrown t}))))

(defn- await-result [p]
  (if-let [t (and (map? p) (::thrown p))]
    {"thrown" (error-outcome t)}
    (let [r (deref p 30000 ::none)]
      (if (= r ::none) {"value" "no result within 30 s"} (result-outcome r)))))

(defn- stop-client [client]
  (Reflector/invokeInstanceMethod client "stop" (object-array 0)))

(defn- perform
  "Performs `requests` in order; delays of their results, in order."
  [client requests]
  (let [results (reduce (fn [results r]
                          (cond
                            (contains? r "opts")
                            (let [p (call client r)
                                  result (delay (await-result p))]
                              (when-not (get r "async") @result)
                              (conj results result))
                            (contains? r "sleep_ms") (do (Thread/sleep (long (get r "sleep_ms"))) results)
                            (contains? r "stop") (do (stop-client client) results)
                            (contains? r "join") (do (run! deref results) results)
                            :else (throw (ex-info "unknown request step" {:type ::unknown :step r}))))
                        [] requests)]
    (mapv deref results)))

(defn- collector
  "Atom of requests in order of arrival, and the function that adds one."
  []
  (let [wire (atom [])]
    [wire #(swap! wire conj %)]))

(defn outcome
  "Outcome from results, requests received, and the scripted servers."
  [results wire first-server second-server]
  (cond-> {"results" results
           "statuses" (mapv #(get % "status") results)
           "wire" wire
           "request-lines" (mapv #(get % "line") wire)
           "connections" (script/connections first-server)}
    second-server (assoc "connections2" (script/connections second-server))))

(defn play
  "Plays `golden`; gives `[golden outcome]`, golden with its ports filled in."
  [golden]
  (let [[wire record!] (collector)
        replacements (atom {"{dead}" (str (script/dead-port))})
        fill #(value/substitute @replacements %)
        first-server (script/start (get golden "conns") fill record!)
        second-server (when (contains? golden "conns2")
                        (script/start (get golden "conns2") fill record!))
        _ (swap! replacements assoc "{port}" (str (:port first-server)))
        _ (when second-server (swap! replacements assoc "{port2}" (str (:port second-server))))
        golden (fill golden)
        client (delay ((api "make-client") (value/options (get golden "client"))))]
    (try
      (let [results (perform @client (get golden "requests"))]
        [golden (outcome results @wire first-server second-server)])
      (finally
        (script/stop! first-server)
        (some-> second-server script/stop!)
        (when (realized? client) (stop-client @client))))))
