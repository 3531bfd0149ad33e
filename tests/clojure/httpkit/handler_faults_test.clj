(ns httpkit.handler-faults-test
  "Whatever a handler does costs its own response, and nothing else."
  (:require [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server])
  (:import (java.io ByteArrayInputStream File IOException InputStream)
           (java.util HashMap Map)
           (java.util.concurrent CountDownLatch)))

(set! *warn-on-reflection* true)

(defn- ask [conn path]
  (wire/send! conn (wire/get-request path))
  (wire/answer conn))

(defn- overflow [n] (+ 1 (long (overflow (inc n)))))

(def ^:private failures
  "Ways for a handler to fail, with the message that the peer gets."
  {"exception"                 [#(throw (RuntimeException. "boom")) "boom"]
   "no message"                [#(throw (RuntimeException.)) ""]
   "ex-info"                   [#(throw (ex-info "info" {:a 1})) "info"]
   "checked exception"         [#(throw (IOException. "io")) "io"]
   "interrupted"               [#(throw (InterruptedException. "stop it")) "stop it"]
   "assertion"                 [#(assert false) #"Assert failed.*"]
   "stack overflow"            [#(overflow 0) ""]
   "out of memory, thrown"     [#(throw (OutOfMemoryError. "thrown")) "thrown"]
   "out of memory, really"     [#(long-array Integer/MAX_VALUE) #"Requested array size exceeds VM limit|Java heap space"]
   "thread death"              [#(throw (ThreadDeath.)) ""]
   "linkage error"             [#(throw (NoClassDefFoundError. "no/such/Class")) "no/such/Class"]
   "message outside Latin-1"   [#(throw (RuntimeException. "\u20ac")) "\u00e2\u0082\u00ac"]
   "message with line breaks"  [#(throw (RuntimeException. "a\r\nSet-Cookie: b")) "a\r\nSet-Cookie: b"]
   "message that throws"       [#(throw (proxy [RuntimeException] [] (getMessage [] (throw (IllegalStateException. "in getMessage")))))
                                #".*"]})

(deftest a-failing-handler-costs-its-response-only
  (doseq [[about [fail message]] failures]
    (testing about
      (wire/with-server [{:keys [port errors events]}
                         (fn [{:keys [uri]}] (if (= "/fail" uri) (fail) {:status 200 :body "fine"}))
                         {:thread 1 :allow-virtual? false}]
        (with-open [conn (wire/connect port)]
          (dotimes [_ 3]
            (let [{:keys [status headers body]} (ask conn "/fail")]
              (is (= [500 "text/plain; charset=utf-8"] [status (headers "content-type")]))
              (is (if (string? message) (= message body) (re-matches message body)) body))
            (is (= "fine" (:body (ask conn "/"))) "same connection, same thread")))
        (is (wire/eventually #(= 3 (count @errors))))
        (is (= ["GET /fail"] (distinct (map first @errors))) "logged once each")
        (is (every? #(instance? Throwable (second %)) @errors))
        (is (= 3 (count (filter #{"httpkit.server.status.500"} @events))))))))

(defn- throwing-stream ^InputStream [n]
  (let [left (atom n)]
    (proxy [InputStream] []
      (read
        ([] (if (neg? (swap! left dec)) (throw (IOException. "broken pipe")) 120))
        ([_buffer _from _length] (throw (IOException. "broken pipe"))))
      (close [] nil))))

(defn- throwing-seq []
  (map #(if (< % 3) (str %) (throw (IllegalStateException. "in the seq"))) (range 10)))

(def ^:private hostile
  "An object that throws whatever is asked of it."
  (reify Object
    (toString [_] (throw (IllegalStateException. "in toString")))
    (hashCode [_] (throw (IllegalStateException. "in hashCode")))
    (equals [_ _] (throw (IllegalStateException. "in equals")))))

(defn- garbage []
  {"number" 5, "string" "text", "vector" [200 {} "body"], "keyword" :ok, "object" (Object.), "true" true, "false" false,
   "function" identity, "set" #{1}, "list" '(1 2), "promise" (promise), "byte array" (byte-array 3), "atom" (atom {}),
   "exception" (RuntimeException. "returned"), "class" String,
   "status 99" {:status 99}, "status 1000" {:status 1000}, "negative status" {:status -200}, "status 0" {:status 0},
   "status 100" {:status 100}, "status 101" {:status 101}, "status 199" {:status 199},
   "number as body" {:status 200 :body 5}, "keyword as body" {:body :k}, "function as body" {:body identity},
   "url as body" {:body (java.net.URL. "http://localhost/")}, "object as body" {:body (Object.)},
   "hostile body" {:body hostile}, "hostile in a seq" {:body [hostile]}, "nil in a seq" {:body ["a" nil]},
   "seq that throws" {:body (throwing-seq)}, "missing file" {:body (File. "/no/such/file")}, "directory" {:body (File. "/")},
   "stream that throws" {:body (throwing-stream 0)},
   "headers vector" {:headers [["a" "b"]]}, "headers string" {:headers "a: b"}, "headers number" {:headers 5},
   "keyword name" {:headers {:a "b"}}, "nil name" {:headers {nil "b"}}, "empty name" {:headers {"" "b"}},
   "name with a space" {:headers {"a b" "c"}}, "name with a line" {:headers {"a\r\nb" "c"}},
   "name with a colon" {:headers {"a:" "c"}}, "name outside ASCII" {:headers {"\u00e9" "c"}},
   "value with CRLF" {:headers {"a" "b\r\nSet-Cookie: c"}}, "value with LF" {:headers {"a" "b\nc"}},
   "value with CR" {:headers {"a" "b\rc"}}, "value with NUL" {:headers {"a" "b\u0000c"}},
   "value in a seq with CRLF" {:headers {"a" ["ok" "b\r\nc"]}}, "nil in a seq of values" {:headers {"a" [nil]}},
   "hostile value" {:headers {"a" hostile}}, "hostile in a seq of values" {:headers {"a" [hostile]}},
   "a map that throws" (proxy [HashMap] [] (get [_] (throw (IllegalStateException. "in get"))))
   "headers that throw" {:headers (proxy [HashMap] []
                                    (isEmpty [] (throw (IllegalStateException. "in isEmpty")))
                                    (size [] (throw (IllegalStateException. "in size")))
                                    (entrySet [] (throw (IllegalStateException. "in entrySet"))))}})

(deftest garbage-is-a-500-and-nothing-of-it-is-sent
  (let [response (atom nil)]
    (wire/with-server [{:keys [port errors]} (fn [{:keys [uri]}] (if (= "/garbage" uri) @response {:body "fine"})) {}]
      (with-open [conn (wire/connect port)]
        (doseq [[about value] (garbage)]
          (testing about
            (reset! response value)
            (reset! errors [])
            (let [{:keys [status headers]} (ask conn "/garbage")]
              (is (= 500 status))
              (is (not-any? headers ["set-cookie" "a" "transfer-encoding"])))
            (is (= "fine" (:body (ask conn "/"))) "the connection goes on")
            (is (= 1 (count @errors)) "and it was logged")))))))

(deftest on-close-runs-once-though-the-response-that-is-returned-cannot-be-sent
  (doseq [async? [false true]]
    (let [response (atom nil), heard (atom [])]
      (wire/with-server [{:keys [port server]}
                         (fn handler
                           ([req]
                            (server/as-channel req {:on-close (fn [_ status] (swap! heard conj status))})
                            @response)
                           ([req respond _raise] (respond (handler req))))
                         {:ring-async? async?}]
        (with-open [conn (wire/connect port)]
          (doseq [[about value] (garbage)]
            (testing (str about (when async? ", asynchronous"))
              (reset! response value)
              (reset! heard [])
              (is (= 500 (:status (ask conn "/"))))
              (is (= [:server-close] @heard)))))
        (is (wire/eventually #(zero? (get-in (server/server-stats server) [:connections :open]))))
        (is (= [:server-close] @heard) "not again when the client leaves")))))

(deftest responses-that-are-odd-and-right
  (let [response (atom nil)]
    (wire/with-server [{:keys [port errors]} (fn [_] @response) {}]
      (with-open [conn (wire/connect port)]
        (doseq [[about value status body]
                [["nil" nil 404 ""] ["empty" {} 200 ""] ["java.util.Map" (HashMap. ^Map (hash-map :status 201 :body "x")) 201 "x"]
                 ["string status" {:status "404" :body "x"} 200 "x"] ["double status" {:status 404.0 :body "x"} 200 "x"]
                 ["nil status" {:status nil :body "x"} 200 "x"] ["integer status" {:status (int 418) :body "x"} 418 "x"]
                 ["999" {:status 999} 999 ""] ["unknown keys" {:status 200 :foo 1 "bar" 2} 200 ""]
                 ["nil headers" {:headers nil :body "x"} 200 "x"] ["nil value" {:headers {"a" nil} :body "x"} 200 "x"]
                 ["empty values" {:headers {"a" []} :body "x"} 200 "x"] ["map as body" {:body {:a 1}} 200 "[:a 1]"]
                 ["set as body" {:body #{1}} 200 "1"] ["nested seqs" {:body [[1] '(2)]} 200 "[1](2)"]]]
          (testing about
            (reset! response value)
            (is (= [status body] ((juxt :status :body) (ask conn "/")))))))
      (is (= [] @errors)))))

(deftest a-stream-that-fails-half-way-never-looks-complete
  (wire/with-server [{:keys [port errors]}
                     (fn [{:keys [uri]}]
                       {:status 200
                        :body (if (= "/" uri)
                                (java.io.SequenceInputStream. (ByteArrayInputStream. (byte-array 300000)) (throwing-stream 0))
                                "fine")})
                     {}]
    (let [outcome (try (:status (wire/fetch port "/")) (catch clojure.lang.ExceptionInfo _ :truncated))]
      (is (contains? #{500 :truncated :closed} outcome)))
    (is (wire/eventually #(seq @errors)) "logged")
    (is (= "fine" (:body (wire/fetch port "/fine"))))))

(deftest an-interrupt-does-not-reach-the-next-handler
  (let [flags (atom [])]
    (wire/with-server [{:keys [port]}
                       (fn [_]
                         (swap! flags conj (.isInterrupted (Thread/currentThread)))
                         (.interrupt (Thread/currentThread))
                         {:status 200})
                       {:thread 1 :allow-virtual? false}]
      (dotimes [_ 5] (is (= 200 (:status (wire/fetch port "/")))))
      (is (= (repeat 5 false) @flags)))))

(deftest a-blocked-handler-holds-up-its-own-connection-only
  (let [gate (CountDownLatch. 1)]
    (wire/with-server [{:keys [port]}
                       (fn [{:keys [uri]}]
                         (when (= "/block" uri) (.await gate))
                         {:status 200 :body uri})
                       {}]
      (with-open [blocked (wire/connect port)]
        (wire/send! blocked (wire/get-request "/block") (wire/get-request "/behind"))
        (dotimes [_ 20] (is (= "/free" (:body (wire/fetch port "/free")))))
        (is (wire/silent? blocked 50))
        (.countDown gate)
        (is (= ["/block" "/behind"] [(:body (wire/answer blocked)) (:body (wire/answer blocked))]))))))

(deftest loggers-that-throw-are-survived
  (let [fail (fn [& _] (throw (AssertionError. "in a logger")))]
    (wire/with-server [{:keys [port]} (fn [{:keys [uri]}] (if (= "/" uri) {:body "fine"} (throw (Exception. "x"))))
                       {:error-logger fail :warn-logger fail :event-logger fail}]
      (with-open [conn (wire/connect port)]
        (dotimes [_ 5]
          (is (= 500 (:status (ask conn "/fail"))))
          (is (= "fine" (:body (ask conn "/")))))
        (wire/send! conn "BAD\r\n\r\n")
        (is (= 400 (:status (wire/answer conn))))))))

;; Asynchronous handlers

(defn- async [f]
  {:ring-async? true
   :handler (fn [req respond raise] (f req respond raise))})

(deftest the-first-answer-of-an-asynchronous-handler-wins
  (doseq [[about f status body]
          [["respond twice"       (fn [_ respond _] (respond {:body "1"}) (respond {:body "2"})) 200 "1"]
           ["respond then raise"  (fn [_ respond raise] (respond {:body "1"}) (raise (Exception. "2"))) 200 "1"]
           ["raise then respond"  (fn [_ respond raise] (raise (Exception. "1")) (respond {:body "2"})) 500 "1"]
           ["respond then throw"  (fn [_ respond _] (respond {:body "1"}) (throw (Exception. "2"))) 200 "1"]
           ["throw"               (fn [_ _ _] (throw (Exception. "1"))) 500 "1"]
           ["raise no throwable"  (fn [_ _ raise] (raise "text")) 500 "Ring async raise value must be a Throwable"]
           ["raise nil"           (fn [_ _ raise] (raise nil)) 500 "Ring async raise value must be a Throwable"]
           ["respond nil"         (fn [_ respond _] (respond nil)) 404 ""]
           ["respond garbage"     (fn [_ respond _] (respond 5)) 500 "response of class java.lang.Long: expected a map, or nil for 404"]
           ["respond bad body"    (fn [_ respond _] (respond {:body 5})) 500 #"(?s).*understandable.*"]
           ["from another thread" (fn [_ respond _] (future (respond {:body "1"}))) 200 "1"]
           ["all at once"         (fn [_ respond _] (dotimes [_ 10] (future (respond {:body "1"})))) 200 "1"]
           ["return value"        (fn [_ respond _] (respond {:body "1"}) {:body "returned"}) 200 "1"]]]
    (testing about
      (let [{:keys [handler] :as options} (async f)]
        (wire/with-server [{:keys [port]} handler (dissoc options :handler)]
          (with-open [conn (wire/connect port)]
            (dotimes [_ 2]
              (let [answer (ask conn "/")]
                (is (= status (:status answer)))
                (is (if (string? body) (= body (:body answer)) (re-matches body (:body answer))) (:body answer))))))))))

(deftest callbacks-return-nil
  (let [returned (promise)]
    (wire/with-server [{:keys [port]} (fn [_ respond raise]
                                        (deliver returned [(respond {:body "x"}) (respond nil) (raise (Exception.))]))
                       {:ring-async? true}]
      (is (= "x" (:body (wire/fetch port "/"))))
      (is (= [nil nil nil] (deref returned wire/patience-ms :none))))))

(deftest a-one-argument-handler-is-an-arity-error-when-asynchronous
  (wire/with-server [{:keys [port errors]} (fn [_] {:body "x"}) {:ring-async? true}]
    (is (= 500 (:status (wire/fetch port "/"))))
    (is (instance? clojure.lang.ArityException (second (first @errors))))))

(deftest an-answer-after-the-client-has-left-does-nothing
  (let [respond-with (promise)]
    (wire/with-server [{:keys [port errors]} (fn [{:keys [uri async-channel]} respond _]
                                               (if (= "/late" uri)
                                                 (deliver respond-with [respond async-channel])
                                                 (respond {:body "fine"})))
                       {:ring-async? true}]
      (with-open [conn (wire/connect port)]
        (wire/send! conn (wire/get-request "/late"))
        (let [[respond channel] (deref respond-with wire/patience-ms nil)]
          (wire/reset!! conn)
          (is (wire/eventually #(not (server/open? channel))))
          (is (nil? (respond {:body "late"})))))
      (is (= "fine" (:body (wire/fetch port "/"))))
      (is (= [] @errors)))))

(deftest a-missing-handler-is-a-500
  (wire/with-server [{:keys [port]} nil {}]
    (is (= [500 500] (repeatedly 2 #(:status (wire/fetch port "/")))))))

(deftest exception-text-is-kept-from-the-peer-when-asked-for
  (doseq [[uri fail] {"/throw"  #(throw (RuntimeException. "secret"))
                      "/file"   #(hash-map :body (java.io.File. "/no/such/secret"))
                      "/stream" #(hash-map :body (throwing-stream 3))}]
    (wire/with-server [{:keys [port errors]} (fn [_] (fail)) {:legacy-error-messages? false}]
      (is (= [500 "Internal Server Error"] ((juxt :status :body) (wire/fetch port "/"))) uri)
      (is (= 1 (count @errors)) "the log has it"))))

(deftest exception-text-stays-one-body
  (wire/with-server [{:keys [port]} (fn [_] (throw (Exception. "a\r\nHTTP/1.1 200 OK\r\n\r\n"))) {}]
    (with-open [conn (wire/connect port)]
      (let [{:keys [status headers body]} (ask conn "/")]
        (is (= 500 status))
        (is (= (str (count body)) (headers "content-length")))
        (is (str/starts-with? body "a\r\nHTTP"))))))
