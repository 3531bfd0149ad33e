(ns httpkit.mistakes-test
  "Messages for wrong arguments: they show the value and what was expected."
  (:require [clojure.test         :refer [deftest is]]
            [httpkit.wire         :as wire]
            [org.httpkit.client   :as client]
            [org.httpkit.server   :as server]
            [org.httpkit.sse      :as sse]
            [org.httpkit.stats    :as stats]))

(set! *warn-on-reflection* true)

(defn- message
  "Of what `f` throws."
  [f]
  (try (f) :nothing-thrown
       (catch RuntimeException e (.getMessage e))))

(deftest functions-of-a-server-name-an-argument-that-is-no-server
  (doseq [[what f] {"server-stats"       server/server-stats
                    "server-drain!"      server/server-drain!
                    "server-join"        server/server-join
                    "server-ssl-port"    server/server-ssl-port
                    "server-reload-tls!" server/server-reload-tls!}]
    (is (= (str what " of nil: expected an HttpServer, see :legacy-return-value? of run-server") (message #(f nil))))
    (is (= (str what " of a function: expected an HttpServer, which is (:server (meta it)) of what run-server returns")
           (message #(f (fn [])))))
    (is (= (str what " of class java.lang.Long: expected an HttpServer, see :legacy-return-value? of run-server")
           (message #(f 5)))))
  (is (= "server-stop! of class java.lang.Long: expected an HttpServer, see :legacy-return-value? of run-server"
         (message #(server/server-stop! 5))))
  (doseq [[what f] {"server-port" server/server-port, "server-status" server/server-status}]
    (is (= (str "No implementation of method: :" what " of protocol: #'org.httpkit.server/IHttpServer found for class: nil")
           (message #(f nil))))))

(deftest only-servers-are-servers-also-those-of-a-users-own
  (is (not-any? #(satisfies? server/IHttpServer %) [nil (fn []) 5 {}]))
  (let [own (reify server/IHttpServer
              (-server-stop! [_ opts] [:stopped opts])
              (server-status [_] :mine)
              (server-port   [_] 7))]
    (is (= [:mine 7 [:stopped {:timeout 1}]]
           [(server/server-status own) (server/server-port own) (server/server-stop! own {:timeout 1})])))
  (eval '(extend-type java.util.BitSet org.httpkit.server/IHttpServer (server-status [_] :extended)))
  (is (= :extended (server/server-status (java.util.BitSet.)))))

(deftest functions-of-a-channel-name-an-argument-that-is-no-channel
  (is (= "pending-bytes of nil: expected a channel, which as-channel passes to its callbacks" (message #(server/pending-bytes nil))))
  (is (= "pending-bytes of :x: expected a channel, which as-channel passes to its callbacks" (message #(server/pending-bytes :x))))
  (is (= (str "pending-bytes of an object of class clojure.lang.PersistentArrayMap: expected a channel,"
           " which as-channel passes to its callbacks")
         (message #(server/pending-bytes {:headers {"authorization" "secret"}}))))
  (is (= (str "broadcast! to an object of class clojure.lang.Iterate: expected channels,"
           " which as-channel passes to its callbacks")
         (message #(server/broadcast! [(iterate inc 0)] "x"))))
  (is (= "send-checked-websocket-handshake! of nil: expected a channel, which as-channel passes to its callbacks"
         (message #(server/send-checked-websocket-handshake! nil "key"))))
  (is (= "broadcast! to :all: expected a collection of channels" (message #(server/broadcast! :all "x"))))
  (is (= "sse/send! of nil: expected a stream, which sse/stream passes to its callbacks" (message #(sse/send! nil {:data "x"}))))
  (is (= "sse/send! of :x: expected a stream, which sse/stream passes to its callbacks" (message #(sse/send! :x {:data "x"})))))

(deftest functions-of-the-client-name-what-they-cannot-use
  (doseq [[expected f]
          {"options \"http://h/\" of request: expected a map"   #(client/request "http://h/")
           "options \"x\" of request: expected a map"           #(client/get "http://h/" "x")
           "options of class clojure.lang.PersistentVector of request: expected a map" #(client/get "http://h/" [:timeout 1])
           "callback 5: expected a function of the response"    #(client/get "http://h/" {} 5)
           "client-stats of nil: expected an HttpClient, see make-client, or a delay of one" #(client/client-stats nil)
           "client-stop! of 5: expected an HttpClient, see make-client, or a delay of one"   #(client/client-stop! 5)
           "max-body-filter of \"5\": expected a number of bytes, at most 2147483647" #(client/max-body-filter "5")
           ":multipart of class clojure.lang.PersistentArrayMap: expected a seq of maps {:name _ :content _}, or nil"
           #(client/post "http://h/" {:multipart {:name "n" :content "c"}})
           "parameter name 1: expected a String, Keyword or Symbol" #(client/query-string {1 2})
           "sse/connect to nil: expected a URL, as a String"    #(sse/connect nil {} {})
           "the callbacks 5 of sse/connect: expected a map"     #(sse/connect "http://h/" {} 5)
           "no source of statistics: nil; expected an HttpServer or an HttpClient" #(stats/prometheus nil)}]
    (is (= expected (message f)))))

(deftest statistics-of-what-run-server-returns-say-where-the-server-is
  (let [stop! (server/run-server (constantly {:body "x"}) {:port 0})]
    (try
      (doseq [of [stats/prometheus stats/register-mbean!]]
        (is (= (str "no source of statistics: a function; expected an HttpServer,"
                 " which is (:server (meta it)) of what run-server returns, or an HttpClient")
               (message #(of stop!)))))
      (finally (stop!)))))

(deftest a-request-body-that-cannot-be-sent-says-what-could
  (is (= (str "class java.lang.Long is not understandable: a request's :body is nil, a String, byte[], ByteBuffer,"
           " InputStream, File or a sequence")
         (ex-message (:error @(client/post "http://127.0.0.1:1/" {:body 42}))))))

(deftest a-request-with-wrong-headers-names-them
  (doseq [[expected headers]
          {"request header :accept: its name is of class clojure.lang.Keyword, expected a String" {:accept "x"}
           "request header nil: its name is nil, expected a String"                               {nil "x"}}]
    (is (= expected (ex-message (:error @(client/get "http://127.0.0.1:1/" {:headers headers}))))))
  (is (= "request :headers of class clojure.lang.PersistentVector: expected a map"
         (message #(client/get "http://127.0.0.1:1/" {:headers [["Accept" "x"]]})))))

(defn- answer
  "[status body] to a request that `handler` handles."
  [handler]
  (wire/with-server [{:keys [port]} handler {}]
    ((juxt :status :body) (wire/fetch port "/"))))

(deftest a-handlers-mistakes-are-named
  (doseq [[expected handler]
          {"response :headers of class clojure.lang.PersistentVector: expected a map" (fn [_] {:headers [["a" "b"]]})
           "response :headers of class java.lang.String: expected a map"              (fn [_] {:headers "a: b"})
           "options :on-open of as-channel: expected a map" #(server/as-channel % :on-open)
           "send-informational! of status 200: expected 100 to 199, but not 101"     #(server/send-informational! % 200 {})
           "send-informational! of status 101: expected 100 to 199, but not 101"     #(server/send-informational! % 101 nil)
           "send-informational! of status \"103\": expected 100 to 199, but not 101" #(server/send-informational! % "103" nil)
           "send-informational! of status 103.5: expected 100 to 199, but not 101"   #(server/send-informational! % 103.5 nil)
           "send-informational! of headers of class clojure.lang.PersistentVector: expected a map, or nil"
           #(server/send-informational! % 103 [["Link" "</a.css>"]])
           "on-body of 5: expected a function of a byte array and whether it is the last one"   #(server/on-body % 5)
           "on-body of nil: expected a function of a byte array and whether it is the last one" #(server/on-body % nil)
           "on-body of :body \"text\": expected the server's own body"  #(server/on-body (assoc % :body "text") list)
           "on-body of :body of class clojure.lang.PersistentArrayMap: expected the server's own body"
           #(server/on-body (assoc % :body {:a 1}) list)
           "on-close 5: expected a function"
           #(server/as-channel % {:on-open (fn [ch] (server/on-close ch 5))})}]
    (is (= [500 expected] (answer handler)))))

(deftest options-in-the-place-of-the-handler-are-warned-of
  (wire/with-server [{:keys [warnings]} {:port 8080} {}]
    (is (= [["the handler of run-server is a map: expected a function of a request; options come second" nil]] @warnings))))
